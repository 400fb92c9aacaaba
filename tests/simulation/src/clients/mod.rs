//! What operators and subscribers do.

pub(crate) mod operators;
pub(crate) mod subscribers;
pub(crate) mod workload;
