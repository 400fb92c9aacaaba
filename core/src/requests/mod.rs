//! Requests from clients: one file for each kind, and the code for dry runs and idempotency keys of
//! teardown requests.

mod cancel;
mod decommission;
mod enroll;
mod get_operation;
mod hash;
mod idempotency;
mod lists;
mod plan;
mod protect;
mod quarantine;
pub(crate) mod teardown;
mod update_host;
