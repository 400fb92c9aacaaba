//! partitions.

pub(crate) mod cursor;
pub(crate) mod merge;
