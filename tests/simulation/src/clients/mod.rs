//! The actions of operators and subscribers during a run.

pub(crate) mod operators;
pub(crate) mod subscribers;
pub(crate) mod workload;
