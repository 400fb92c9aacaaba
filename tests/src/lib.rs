//! The harness of Scuttle's black-box tests, its demo and its benches: real processes, real NATS.
//!
//! A test starts a [`Swarm`] (its own nats-server, controller and data directory), talks to it as an
//! operator through a [`Client`], and plays a host's agent itself through a [`FakeAgent`]. Nothing
//! here knows how the controller works inside, and nothing waits for a time: it waits for an answer, a
//! message or a process, at most for [`wait::PATIENCE`].

pub mod broadcasts;
pub mod bus;
pub mod ca;
pub mod client;
pub mod cluster;
pub mod controller;
pub mod corpus;
pub mod fake_agent;
pub mod flood;
pub mod http;
pub mod nats;
pub mod openmetrics;
pub mod process;
pub mod proxy;
pub mod role;
pub mod served;
pub mod server;
pub mod sim;
pub mod stop;
pub mod swarm;
pub mod view;
pub mod wait;

pub use broadcasts::Broadcasts;
pub use bus::Bus;
pub use ca::Ca;
pub use client::{AskError, Client, Outcome, Refused};
pub use cluster::Cluster;
pub use controller::Controller;
pub use fake_agent::{FakeAgent, absent, failed, removed, reported};
pub use http::Http;
pub use nats::Nats;
pub use proxy::Proxy;
pub use role::{Passwords, Role};
pub use sim::Sim;
pub use swarm::Swarm;
pub use view::View;
pub use wait::until;

/// What a test returns.
pub type TestResult = anyhow::Result<()>;
