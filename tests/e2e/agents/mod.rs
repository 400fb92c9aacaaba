//! Reports of agents, and what the controller does with each report.

mod heartbeats;
mod results;
mod simulated_agents;
mod stale_reports;
