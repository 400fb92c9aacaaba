//! Broadcasts: the messages that announce changes, their revisions, and their size limits.

mod announce;
pub(crate) mod batching;
mod idle_repeats;
mod relay;
pub(crate) mod shard_changes;
pub(crate) mod size_bounds;
