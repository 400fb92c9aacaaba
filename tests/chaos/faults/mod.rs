//! The faults of a run: a plan that says which fault occurs when, and an injector that executes it.

pub(crate) mod fault_injector;
pub(crate) mod plan;
