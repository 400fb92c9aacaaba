//! The observability of an agent: its counters, its log lines, and its traces.

mod counters;
pub(crate) mod event_log;
pub(crate) mod spans;

pub use counters::Counters;
