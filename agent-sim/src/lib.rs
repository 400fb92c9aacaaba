//! Many agents in one process. Each is the real agent with a simulated runtime, and faults can be
//! injected.
//!
//! The modules, lowest layer first: `seeded_rng` derives all random decisions from the seed,
//! `fake_inventory` makes up the properties of deckies, `action_log` logs what was done on a host,
//! `simulated_host` holds what exists on a host, `simulated_runtime` tears it down,
//! `simulated_agent` restarts and disconnects the agent of a host, `output` prints, `enroll`
//! enrolls the hosts, `args` parses the options, and `fleet` runs everything. The agent itself is
//! in `scuttle-agent`.

pub mod action_log;
pub mod args;
pub mod enroll;
mod fake_inventory;
pub mod fleet;
mod output;
pub mod seeded_rng;
pub mod simulated_agent;
pub mod simulated_host;
pub mod simulated_runtime;
