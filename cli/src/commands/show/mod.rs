//! The commands that list or describe records, and change nothing.

mod columns;
pub(crate) mod hosts;
pub(crate) mod op;
pub(crate) mod ops;
pub(crate) mod shards;
mod sort;
pub(crate) mod version;
