//! Clusters of three controllers and three nats-servers: one controller leads, the others follow
//! and take over.

mod deleted_buckets;
mod leaders;
pub(crate) mod lost_journal;
mod new_controllers;
mod pending_teardown;
mod replicas;
mod servers;
mod takeover;

use anyhow::Result;
use scuttle_tests::Cluster;

/// Starts three servers and three controllers, each controller behind a proxy.
async fn start_cluster() -> Result<Cluster> {
    let builder = Cluster::builder().servers(3).controllers(3);
    builder.proxied().start().await
}
