//! nats-servers as child processes: one with any configuration, one with `nats.conf`, and a cluster
//! of three.

pub mod nats;
pub mod nats_cluster;
pub mod nats_server;
