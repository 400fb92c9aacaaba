//! The faults: a plan of which fault occurs when, and the injector that carries it out.

pub(crate) mod fault_injector;
pub(crate) mod plan;
