//! Requests from clients: one file for each kind, and what the teardown request needs for dry runs
//! and idempotency keys.

mod cancel;
mod decommission;
mod enroll;
mod get_operation;
mod hash;
mod idempotency;
mod lists;
mod plan;
pub(crate) mod teardown;
