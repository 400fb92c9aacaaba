//! Every decision that Scuttle's controller makes, and nothing but decisions.
//!
//! [`State::step`] takes one [`Input`] (a request, an agent's report, a tick of the clock) and gives its
//! [`Reply`]. [`State::close`] ends a batch of steps with the [`Change`]s that must be on disk before any
//! of those replies may leave, and the [`Effect`]s (commands, broadcasts) that may leave then. Time is an
//! argument and ids come with the input, so the same inputs always give the same state.
//!
//! Each file is one part of the protocol: `teardown`, `progress`, `results`, `heartbeat`, `hosts`,
//! `lists`, `tick`. What is absent: a clock, a random number, an `await`, a byte of IO.

mod backoff;
mod broadcast;
mod change;
mod cursor;
mod deadline;
mod heartbeat;
#[cfg(test)]
mod histories;
mod hosts;
pub mod invariants;
mod inventory;
mod lists;
mod operation;
mod progress;
mod results;
mod rows;
#[cfg(test)]
mod rules;
mod state;
mod step;
mod teardown;
#[cfg(test)]
mod testing;
mod tick;

pub use change::{Change, ReplayError};
pub use rows::{HostRow, Meta, OperationRow, OutcomeRow, Report, Revisions, ShardRow};
pub use state::State;
pub use step::{Commit, Effect, Input, Reply, Trace};
