//! The events of agents: the real state machine and ledger, over a simulated disk, clock,
//! connection and runtime.

pub(crate) mod effects;
pub(crate) mod messages;
pub(crate) mod process;
pub(crate) mod runtime;
