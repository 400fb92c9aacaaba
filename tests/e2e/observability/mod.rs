//! What an operator can observe: the audit log, the event log, metrics, traces, and the HTTP
//! endpoint.

mod audit;
mod http;
mod logs;
mod metrics;
mod traces;
