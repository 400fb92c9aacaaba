//! The messages: one file for each group of messages, with their fields and limits.
//!
//! `types::decode` decodes the messages, and `subjects` lists the subjects on which they travel.

pub mod agents;
pub(crate) mod errors;
pub mod headers;
pub mod hosts;
pub(crate) mod message_type;
pub mod operations;
pub(crate) mod page;
pub mod protection;
pub mod shards;
pub mod teardown;
