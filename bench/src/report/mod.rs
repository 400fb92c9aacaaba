//! The figures of a run: how they are kept, summarized and printed.

pub(crate) mod samples;
pub(crate) mod summary;
