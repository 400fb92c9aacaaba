//! The faults: which ones occur when, and what they do.

pub(crate) mod fault_injector;
pub(crate) mod plan;
