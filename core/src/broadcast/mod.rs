//! broadcast.

pub(crate) mod batching;
pub(crate) mod idle_repeats;
pub(crate) mod relay;
pub(crate) mod shard_changes;
pub(crate) mod size_bounds;
