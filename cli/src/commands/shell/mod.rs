//! Shell completion and manual pages.

pub(crate) mod candidates;
pub(crate) mod completions;
pub(crate) mod man;
