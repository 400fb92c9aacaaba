//! requests.

pub(crate) mod cancel;
pub(crate) mod decommission;
pub(crate) mod enroll;
pub(crate) mod get_operation;
pub(crate) mod hash;
pub(crate) mod idempotency;
pub(crate) mod lists;
pub(crate) mod plan;
pub(crate) mod teardown;
