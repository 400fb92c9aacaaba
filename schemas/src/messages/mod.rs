//! The messages: one file for each subject of messages, with their fields and limits.
//!
//! How bytes become a message is in `types::decode`, and on which subject a message travels is in
//! `subjects`.

pub mod agents;
pub(crate) mod errors;
pub mod headers;
pub mod hosts;
pub(crate) mod message_type;
pub mod operations;
pub(crate) mod page;
pub mod shards;
pub mod teardown;
