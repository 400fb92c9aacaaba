//! Broadcasts: how changes become messages with revisions, and how large a message may be.

mod announce;
pub(crate) mod batching;
mod idle_repeats;
mod relay;
pub(crate) mod shard_changes;
pub(crate) mod size_bounds;
