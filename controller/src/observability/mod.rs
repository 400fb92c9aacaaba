//! The observability of the controller: audit log, event log, counters, metrics, health and traces.

pub mod audit;
pub mod counters;
pub mod event_log;
pub mod health;
pub mod metrics;
pub mod service_counts;
pub(crate) mod spans;
