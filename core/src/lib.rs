//! Every decision that Scuttle's controller makes, and nothing but decisions.
//!
//! [`State::step`] takes one [`Input`] (a request, an agent's report, a tick of the clock) and gives its
//! [`Reply`]. [`State::close`] ends a batch of steps with the [`Change`]s that must be on disk before any
//! of those replies may leave, and the [`Effect`]s (commands, broadcasts) that may leave then. Time is an
//! argument and ids come with the input, so the same inputs always give the same state.
//!
//! Each file is one part of the protocol: `teardown`, `plan`, `idempotency`, `cancel`, `progress`,
//! `results`, `heartbeat`, `hosts`, `lists`, `tick`; `relay` and `merge` make several partitions one swarm. What is absent: a clock, a random number, an `await`, a byte of IO.

#![warn(missing_docs)]

pub mod api;
mod broadcast;
mod errors;
mod partitions;
mod record;
mod reports;
mod requests;
pub mod state;
mod step;
#[cfg(test)]
mod tests;
mod time;

pub use api::{Commit, Effect, Input, RelayedBroadcast, Reply, Topic};
pub use partitions::merge::{merge_hosts, merge_operations, merge_shards};
pub use record::change::Change;
pub use record::restore::RaisedRevisions;
pub use record::rows::{
    HostRow, KeyId, KeyRow, Meta, OperationRow, OutcomeRow, ReportId, Revisions, ShardRow, Trace,
};
pub use state::State;
pub use state::invariants;
pub use state::replay::ReplayError;
pub use state::stats::{CountsByState, EventCounts, Stats};
