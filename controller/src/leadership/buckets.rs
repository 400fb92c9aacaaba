//! The buckets on the NATS servers that the controllers share: leases, snapshots and host names.

use async_nats::Client;
use scuttle_schemas::subjects;

use crate::leadership::lease::{LEASE_TTL, LeaseBucket};
use crate::partition::name_registry::NameRegistry;
use crate::store::JournalStream;
use crate::store::snapshot_exchange::SnapshotExchange;

pub(super) struct Buckets {
    pub(super) leases: LeaseBucket,
    pub(super) snapshots: SnapshotExchange,
    /// The registry of host names. `None` if there is only one partition.
    pub(super) names: Option<NameRegistry>,
}

impl Buckets {
    /// Opens the buckets of a partition, and creates those that are missing.
    ///
    /// # Errors
    /// If the servers reject a request or do not reply.
    pub(super) async fn open(
        stream: &JournalStream,
        lease_client: &Client,
    ) -> anyhow::Result<Self> {
        let (replicas, assignment) = (stream.replicas, stream.assignment);
        let (client, bucket) = (lease_client.clone(), subjects::LEASES_BUCKET);
        let leases = LeaseBucket::open(client, bucket, replicas, LEASE_TTL).await?;
        let snapshots = SnapshotExchange::open(stream.clone()).await?;
        let names = if assignment.is_one_of_several() {
            let client = stream.client.clone();
            Some(NameRegistry::open(client, replicas, assignment.partitions).await?)
        } else {
            None
        };
        Ok(Self {
            leases,
            snapshots,
            names,
        })
    }
}
