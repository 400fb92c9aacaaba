//! Reports of agents, and how the controller handles them.

mod heartbeats;
mod notes_and_evidence;
mod removed_ledger;
mod results;
mod simulated_agents;
mod stale_reports;
mod two_agents;
