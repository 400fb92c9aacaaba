//! Many agents in one process, each the real agent over a simulated runtime, with faults to order.
//!
//! `chance` decides everything from the seed; `world` is what exists on one host, `log` what was done there, `runtime` what removes it; `host` is
//! the life of one host with its crashes and absences; `fleet` runs them all and reports. What an agent does is in
//! `scuttle-agent`.

pub mod args;
pub mod chance;
pub mod enroll;
pub mod fleet;
pub mod host;
pub mod log;
mod looks;
pub mod runtime;
pub mod world;
