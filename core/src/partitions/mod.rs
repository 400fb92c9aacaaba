//! Lists over several partitions: merging their pages, and the cursors that mark the end of a page.

pub(crate) mod cursor;
pub(crate) mod merge;
