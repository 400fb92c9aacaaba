//! The actions of operators and subscribers.

pub(crate) mod operators;
pub(crate) mod subscribers;
pub(crate) mod workload;
