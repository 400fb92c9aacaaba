//! The commands that create and change operations, and the code that they share: submitting
//! requests and waiting for operations to end.

pub(crate) mod cancel;
pub(crate) mod protect;
pub(crate) mod retry;
mod submit;
pub(crate) mod teardown;
mod wait;
pub(crate) mod wait_command;
