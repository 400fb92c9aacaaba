//! Messages.

pub mod agents;
pub(crate) mod errors;
pub mod headers;
pub mod hosts;
pub(crate) mod message_type;
pub mod operations;
pub(crate) mod page;
pub mod shards;
pub mod teardown;
