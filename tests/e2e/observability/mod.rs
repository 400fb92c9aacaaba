//! What an operator of Scuttle can see: the audit log, the event log, metrics, traces, HTTP.

mod audit;
mod http;
mod logs;
mod metrics;
mod traces;
