//! The figures of a run: stores, summarizes and prints them.

pub(crate) mod samples;
pub(crate) mod summary;
