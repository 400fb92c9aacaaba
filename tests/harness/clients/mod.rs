//! Clients of the protocol: operators and viewers, subscribers to broadcasts, and a host's agent.

pub mod broadcasts;
pub mod client;
pub mod fake_agent;
pub mod pipelined_requests;
pub mod raw_client;
pub mod replica_view;
