//! Logins, the permissions to publish and subscribe, and the user that the controller records as
//! the requester.

mod accounts;
mod bus_directory;
mod install_page;
mod jetstream_permissions;
mod limited_operators;
mod logins;
mod permissions;
mod requested_by;
mod tls;
