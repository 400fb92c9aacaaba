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

mod backoff;
mod broadcast;
mod cancel;
mod census;
mod change;
mod clock;
#[cfg(test)]
mod control;
mod cursor;
mod deadline;
mod heartbeat;
#[cfg(test)]
mod histories;
mod hosts;
mod idempotency;
pub mod invariants;
mod inventory;
mod lists;
mod merge;
mod operation;
mod plan;
mod progress;
mod relay;
mod restore;
mod results;
mod retention;
mod rows;
#[cfg(test)]
mod rules;
mod state;
mod step;
mod teardown;
#[cfg(test)]
mod testing;
mod tick;
mod waiting;

pub use census::{ByState, Census, Seen};
pub use change::{Change, ReplayError};
pub use merge::{merge_hosts, merge_operations, merge_shards};
pub use relay::{Relayed, Topic};
pub use restore::Raised;
pub use rows::{
    HostRow, KeyId, KeyRow, Meta, OperationRow, OutcomeRow, Report, Revisions, ShardRow,
};
pub use state::State;
pub use step::{Commit, Effect, Input, Reply, Trace};
