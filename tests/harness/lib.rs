//! The harness of the end-to-end tests, chaos, the demo and the benchmarks. It starts real programs
//! with real nats-servers, and plays the clients and agents that communicate with them.
//!
//! A test starts a [`Cluster`] (nats-servers, controllers and a directory for their files), sends
//! requests as an operator through a [`Client`], and plays a host's agent through a [`FakeAgent`].
//! The harness knows nothing about the internals of the controller. It never waits for a fixed
//! time. Instead, it waits up to [`wait::EVENT_TIMEOUT`] for a reply, a message or the end of a
//! process.

pub mod certificates;
pub mod clients;
pub mod cluster;
pub mod corpus;
pub mod faults;
pub mod hostile_checks;
pub mod http;
pub mod openmetrics;
pub mod programs;
pub mod roles;
pub mod servers;
pub mod teardown_load;
pub mod wait;

pub use clients::broadcasts::Broadcasts;
pub use clients::client::{Client, ExpectRejection, Rejection, RequestError};
pub use clients::fake_agent::{
    FakeAgent, absent_shard, failed_shard, removed_shard, reported_shard,
};
pub use clients::replica_view::ReplicaView;
pub use cluster::Cluster;
pub use cluster::provisioned_server::ProvisionedServer;
pub use hostile_checks::report_hostile_checks;
pub use http::Http;
pub use programs::controller::Controller;
pub use programs::simulator::Simulator;
pub use roles::Role;
pub use servers::nats::Nats;
pub use wait::wait_until;

/// The return type of a test function.
pub type TestResult = anyhow::Result<()>;
