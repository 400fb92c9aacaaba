//! Handles the events of agents. The agents' real state machine and ledger run over a simulated
//! disk, clock, connection and runtime.

pub(crate) mod effects;
pub(crate) mod forged_reports;
pub(crate) mod messages;
pub(crate) mod process;
pub(crate) mod runtime;
pub(crate) mod stray_agent;
