//! Fills the registry of host names from the record, when the registry is new or its bucket was
//! deleted. Each partition's leader adds the names and ids of its hosts, and then a marker. Until
//! the markers of all partitions are there, no name is granted.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::kv::Operation;
use scuttle_core::HostIdentity;
use scuttle_schemas::hosts::{HostStatus, HostsList, HostsListRequest};
use scuttle_schemas::{ErrorReply, Partition};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::partition::name_registry::{NameRegistry, bucket_key, failed, marker_key, open_bucket};
use crate::partition::rpc;
use crate::request::endpoint::Endpoint;

/// The interval at which the leader checks that the registry is filled.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// The delay before a failed attempt to fill the registry is repeated.
const RETRY_DELAY: Duration = Duration::from_millis(250);

/// The maximum number of names that are written concurrently.
const MAX_CONCURRENT_WRITES: usize = 64;

impl NameRegistry {
    /// Keeps the names of a partition's hosts in the registry. Must run only while this controller
    /// leads the partition. Never returns.
    pub async fn keep_filled(&self, partition: Partition) {
        let mut last_error = String::new();
        loop {
            let delay = match self.fill_if_missing(partition).await {
                Ok(()) => POLL_INTERVAL,
                Err(error) => {
                    let error = error.message;
                    if error != last_error {
                        warn!("cannot fill the registry of host names: {error}");
                        last_error = error;
                    }
                    RETRY_DELAY
                }
            };
            tokio::time::sleep(delay).await;
        }
    }

    async fn fill_if_missing(&self, partition: Partition) -> Result<(), ErrorReply> {
        let marker = marker_key(partition);
        match self.bucket.entry(&marker).await {
            Ok(Some(entry)) if entry.operation == Operation::Put => return Ok(()),
            Ok(_) => {}
            Err(_) => {
                let opened = open_bucket(self.client.clone(), self.replicas).await;
                opened.map_err(failed)?;
            }
        }
        let (mut after, mut count) = (None, 0);
        loop {
            let request = HostsListRequest {
                after,
                ..HostsListRequest::default()
            };
            let payload = serde_json::to_vec(&request).map_err(failed)?;
            let listed = rpc::request(&self.client, partition, Endpoint::HostsList, payload.into());
            let list: HostsList = listed.await?;
            count += self.write_names(&list).await?;
            after = list.next;
            if after.is_none() {
                break;
            }
        }
        self.bucket.put(&marker, "".into()).await.map_err(failed)?;
        info!("filled the registry of host names with the {count} active hosts of this partition");
        Ok(())
    }

    /// Assigns the name and id of each active host to that host, and returns the number of active
    /// hosts. A claim of another host was never granted, because the registry was not filled.
    async fn write_names(&self, list: &HostsList) -> Result<usize, ErrorReply> {
        let mut writes = JoinSet::new();
        let permits = Arc::new(Semaphore::new(MAX_CONCURRENT_WRITES));
        let mut count = 0;
        for host in &list.hosts {
            if host.status == HostStatus::Decommissioned {
                continue;
            }
            count += 1;
            for key in HostIdentity::from(host).keys() {
                let (bucket, permits) = (self.bucket.clone(), permits.clone());
                let (key, value) = (bucket_key(&key), host.host_uuid.to_string());
                writes.spawn(async move {
                    let _permit = permits.acquire().await;
                    bucket.put(key, value.into()).await
                });
            }
        }
        while let Some(written) = writes.join_next().await {
            written.map_err(failed)?.map_err(failed)?;
        }
        Ok(count)
    }
}
