//! What operators see of an agent: its counters, its log lines, and its traces.

mod counters;
mod event_log;
pub(crate) mod spans;

pub use counters::Counters;
pub(crate) use event_log::log_event;
