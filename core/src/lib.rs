//! The decisions of Scuttle's controller, without any input or output.
//!
//! [`State::step`] takes one [`Input`] (a request, an agent's report, a tick of the clock) and
//! returns its [`Reply`]. [`State::close`] ends a batch of steps and returns a [`Commit`]: the
//! [`Change`]s that must be durable before any reply of the batch is sent, and the [`Effect`]s
//! (commands and broadcasts) to send after that. The current time is an argument, and new ids are
//! part of the input, so the same inputs always lead to the same state.
//!
//! The modules are listed with the lowest layer first. A file imports only from its own module and
//! from modules above it in this list:
//!
//! | module | what it holds |
//! | --- | --- |
//! | `errors` | error replies that several requests and reports share |
//! | `plural` | numbers with their nouns, in texts for people |
//! | `message_limits` | the limits that the NATS server sets for the sizes of messages |
//! | `record` | the durable rows, the changes to them, the states of an operation |
//! | `api` | inputs, replies, effects and the commit |
//! | `state` | the record in memory with its indexes, and what the current batch has collected |
//! | `broadcast` | revisions, batching and size bounds of broadcasts, and the relay |
//! | `partitions` | merging the pages of several partitions, list cursors |
//! | `time` | timers, deadlines, resending commands, retention, clock skew |
//! | `reports` | one file for each kind of report from an agent |
//! | `requests` | one file for each kind of request from a client |
//! | `step` | chooses the rule for an input, and ends the batch |
//!
//! No clock, random number, `await`, file or socket may appear in this crate; `clippy.toml` bans
//! some of them.

#![warn(missing_docs)]

pub mod api;
mod broadcast;
mod errors;
mod message_limits;
mod partitions;
mod plural;
pub mod record;
mod reports;
mod requests;
pub mod state;
mod step;
#[cfg(test)]
mod tests;
mod time;

pub use api::{Commit, Effect, Input, Reply, TeardownArgs, Topic};
pub use message_limits::MessageLimits;
pub use partitions::merge::{merge_hosts, merge_operations, merge_shards};
pub use record::change::Change;
pub use record::rows::{
    HostRow, KeyId, KeyRow, Meta, OperationRow, OutcomeRow, ReportId, Revisions, ShardRow, Trace,
};
pub use state::State;
pub use state::identifiers::HostIdentity;
pub use state::replay::ReplayError;
pub use state::stats::{RowCounts, Stats};
