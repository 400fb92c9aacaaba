//! The commands for administrators, which set up the NATS server and add and remove hosts and
//! users.

mod bus_options;
pub(crate) mod decommission;
pub(crate) mod enroll;
pub(crate) mod host;
pub(crate) mod init;
mod labels;
pub(crate) mod user;
