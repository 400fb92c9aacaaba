//! The harness of the end-to-end tests, chaos, the demo and the benchmarks: it starts real programs on
//! real nats-servers, and plays the clients and agents that talk to them.
//!
//! A test starts a [`Swarm`] (a nats-server, a controller and a data directory), sends requests as an
//! operator through a [`Client`], and plays a host's agent through a [`FakeAgent`]. The harness knows
//! nothing about the inside of the controller. It never waits for a fixed time: it waits for a reply, a
//! message or the end of a process, at most for [`wait::PATIENCE`].

pub mod certificates;
pub mod clients;
pub mod cluster;
pub mod corpus;
pub mod faults;
pub mod http;
pub mod openmetrics;
pub mod programs;
pub mod roles;
pub mod servers;
pub mod teardown_load;
pub mod wait;

pub use certificates::Ca;
pub use clients::broadcasts::Broadcasts;
pub use clients::client::{AskError, Client, Outcome, Refused};
pub use clients::fake_agent::{FakeAgent, absent, failed, removed, reported};
pub use clients::replica_view::View;
pub use cluster::bus::Bus;
pub use cluster::swarm::Swarm;
pub use faults::proxy::Proxy;
pub use http::Http;
pub use programs::controller::Controller;
pub use programs::simulator::Sim;
pub use roles::{Passwords, Role};
pub use servers::nats::Nats;
pub use servers::nats_cluster::NatsCluster;
pub use wait::until;

/// What a test returns.
pub type TestResult = anyhow::Result<()>;
