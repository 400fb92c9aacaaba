//! Many agents in one process. Each one is the real agent from `scuttle-agent` with a simulated
//! runtime. Crashes, failed teardowns, disconnections and duplicate messages can be injected.
//!
//! The modules, lowest layer first:
//!
//! - `args` parses the options, `output` prints, `seeded_rng` derives all random decisions from the
//!   seed, and `action_log` logs what was done on a host.
//! - `enroll` enrolls the hosts, and `fake_inventory` makes up the properties of deckies.
//! - `simulated_host` holds what exists on a host.
//! - `simulated_runtime` tears deckies down.
//! - `simulated_agent` crashes, restarts and disconnects the agent of a host.
//! - `fleet` runs everything.

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
