//! Who may connect, who may publish and subscribe to what, and whom the controller names as the
//! requester.

mod accounts;
mod jetstream_permissions;
mod logins;
mod permissions;
mod requested_by;
mod tls;
