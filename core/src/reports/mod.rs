//! reports.

pub(crate) mod heartbeat;
pub(crate) mod inventory;
pub(crate) mod progress;
pub(crate) mod result;
