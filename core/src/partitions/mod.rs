//! Lists over several partitions: merging their pages, and the cursors that mark where a page ends.

pub(crate) mod cursor;
pub(crate) mod merge;
