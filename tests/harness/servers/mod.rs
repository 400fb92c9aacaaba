//! nats-servers as child processes: a server with any configuration, a server with `nats.conf`, and
//! a cluster of three servers. And a dockerd in a sandbox.

pub mod dockerd;
pub mod nats;
pub mod nats_cluster;
pub mod nats_server;
