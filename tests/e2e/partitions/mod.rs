//! Hosts in several partitions, each with its own journal and leader. Clients, agents and viewers
//! see one swarm.

mod host_names;
mod leaders;
mod one_swarm;

use anyhow::Result;
use async_nats::jetstream::{self, Context};
use scuttle_schemas::{HostId, Partition, PartitionCount, subjects};
use scuttle_tests::{Client, Cluster, Role};

/// The number of partitions in all of these tests.
const PARTITIONS: u8 = 4;

/// Returns [`PARTITIONS`] as a [`PartitionCount`].
fn partition_count() -> PartitionCount {
    PartitionCount::new(PARTITIONS).expect("a valid number of partitions")
}

/// Starts one server and this number of controllers, which share [`PARTITIONS`] partitions.
async fn start_cluster(controllers: usize) -> Result<Cluster> {
    let builder = Cluster::builder().controllers(controllers);
    builder.partitions(PARTITIONS).start().await
}

/// Connects to `JetStream` with the permissions of the controller.
async fn connect_jetstream(cluster: &Cluster) -> Result<Context> {
    let options = cluster.passwords().connect_options(Role::Controller);
    let options = options.custom_inbox_prefix(subjects::CONTROLLER_INBOX_PREFIX);
    let client = Client::connect_with(options, &cluster.url()).await?;
    Ok(jetstream::new(client.nats().clone()))
}

/// Returns an endless iterator over ids of hosts in `partition`.
fn host_ids_in(partition: Partition) -> impl Iterator<Item = HostId> {
    let hosts = (0..).map(|number| format!("host-{number:03}").parse().expect("a valid id"));
    hosts.filter(move |host| partition_count().partition_of_host(host) == partition)
}

/// Returns one host id for each partition.
fn one_host_per_partition() -> Vec<HostId> {
    let partitions = partition_count().iter();
    partitions
        .filter_map(|partition| host_ids_in(partition).next())
        .collect()
}
