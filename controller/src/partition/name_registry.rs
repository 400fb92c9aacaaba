//! The registry of host names and ids in a swarm with several partitions.
//!
//! The leader that enrolls or renames a host knows only the hosts of its partition. It therefore
//! claims the name and the id in a bucket on the NATS servers before it changes the record. Names
//! and ids have one set of keys, which ignore case (`identifier_key`), so the name of
//! one host cannot be the id of another.
//!
//! `name_fill` adds the names and ids of all hosts on record when the bucket is new.
//!
//! A claim may outlive its host: the host may never have been added to the record, or may have been
//! removed from it or renamed. The name is then free. A leader that wants a claimed name therefore
//! requests the claimant's record from the leader of the claimant's partition. Two rules make this
//! safe:
//!
//! - A leader does not return the record of a host that it is about to enroll or rename.
//! - A leader takes over a claim only if the claim still has the revision that the leader has read.
//!   So if two leaders want one name, only one of them gets it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_nats::Client;
use async_nats::jetstream::kv::{self, CreateErrorKind, Operation, Store, UpdateErrorKind};
use futures_util::future::try_join_all;
use scuttle_core::HostIdentity;
use scuttle_core::state::identifiers::identifier_key;
use scuttle_schemas::hosts::{HostRecord, HostStatus, HostsList, HostsListRequest};
use scuttle_schemas::{ErrorCode, ErrorReply, HostId, Partition, PartitionCount, subjects};
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::nats::key_value;
use crate::partition::rpc;
use crate::request::endpoint::Endpoint;
use crate::request::rejection::retry_later;

/// The timeout for a reply from the NATS servers.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// The maximum number of hosts for which names are claimed concurrently. Each claim waits for up to
/// four fsyncs on the servers.
const MAX_CONCURRENT: usize = 32;

/// The delay before a claim is repeated while another leader enrolls a host with the same name.
const RETRY_DELAY: Duration = Duration::from_millis(50);

/// The maximum time for which a claim waits until the registry is filled.
const FILL_TIMEOUT: Duration = Duration::from_secs(3);

/// The maximum number of attempts to claim a name while other leaders claim it too.
const MAX_ATTEMPTS: usize = 8;

/// The bucket's key for the identity of the record. No name or id contains a slash, so the key
/// cannot be that of a host.
const RECORD_KEY: &str = "swarm/record";

/// The registry of host names and ids in all partitions. Clones share the registry and its limit.
#[derive(Debug, Clone)]
pub struct NameRegistry {
    pub(super) client: Client,
    pub(super) bucket: Store,
    pub(super) replicas: usize,
    partitions: PartitionCount,
    /// The hosts that this leader is about to enroll or rename.
    claiming: Arc<Mutex<BTreeSet<HostId>>>,
    permits: Arc<Semaphore>,
}

/// A mark on a host that is about to be enrolled or renamed. While the mark exists, the leader does
/// not return the host's record. Dropping the claim removes the mark.
#[derive(Debug)]
pub struct NameClaim {
    host: HostId,
    claiming: Arc<Mutex<BTreeSet<HostId>>>,
}

/// The result of claiming a name.
#[derive(Debug)]
pub enum Claim {
    /// The identifiers were claimed for the host, which may now have them in the record.
    Granted(NameClaim),
    /// One of the identifiers is the name or id of another active host, which has this record.
    Taken(Box<HostRecord>),
}

impl Drop for NameClaim {
    fn drop(&mut self) {
        let claiming = self.claiming.lock();
        claiming
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.host);
    }
}

impl NameRegistry {
    /// Opens the bucket of claimed names, and creates it if it is missing.
    ///
    /// # Errors
    /// If the servers reject the request or do not reply.
    pub async fn open(
        client: Client,
        replicas: usize,
        partitions: PartitionCount,
    ) -> anyhow::Result<Self> {
        let bucket = open_bucket(client.clone(), replicas).await?;
        Ok(Self {
            client,
            bucket,
            replicas,
            partitions,
            claiming: Arc::default(),
            permits: Arc::new(Semaphore::new(MAX_CONCURRENT)),
        })
    }

    /// Returns the identity of the record, which all partitions share. If no identity is stored
    /// yet, stores and returns `new`.
    ///
    /// # Errors
    /// If the servers reject a request or do not reply, or the stored identity is not valid.
    pub async fn share_record(&self, new: Uuid) -> Result<Uuid, ErrorReply> {
        let created = self.bucket.create(RECORD_KEY, new.to_string().into()).await;
        match created {
            Ok(_) => Ok(new),
            Err(error) if error.kind() == CreateErrorKind::AlreadyExists => {
                let stored = self.bucket.get(RECORD_KEY).await.map_err(failed)?;
                Uuid::try_parse_ascii(&stored.unwrap_or_default()).map_err(failed)
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Returns an error reply if the host is being enrolled or renamed, because its record may be
    /// about to change. Returns `None` otherwise.
    pub fn reject_while_claiming(&self, host: &HostId) -> Option<ErrorReply> {
        let claiming = self.claiming.lock();
        let claiming = claiming.unwrap_or_else(PoisonError::into_inner);
        let is_claiming = claiming.contains(host);
        is_claiming.then(|| being_named(host))
    }

    /// Marks a host as about to be enrolled or renamed. Returns `None` if another request has
    /// already marked it.
    fn mark_claiming(&self, host: HostId) -> Option<NameClaim> {
        let claiming = self.claiming.clone();
        let hosts = claiming.lock();
        let is_new = (hosts.unwrap_or_else(PoisonError::into_inner)).insert(host.clone());
        is_new.then(|| NameClaim { host, claiming })
    }

    /// Claims identifiers for a host: the name of a host that is to be renamed, or the name and the
    /// id of one that is to be enrolled. The caller must keep a granted claim until the record has
    /// changed.
    ///
    /// Two hosts that want each other's id as their name may both get the error `overloaded`.
    ///
    /// # Errors
    /// The claim was not granted, and the error code is:
    ///
    /// - `overloaded` if the host, its name or its id is being claimed by another request.
    /// - Another code if the NATS servers or another leader rejected a request or did not reply.
    pub async fn claim(&self, identifiers: &[&str], host: &HostId) -> Result<Claim, ErrorReply> {
        let _permit = self.permits.acquire().await;
        let Some(claim) = self.mark_claiming(host.clone()) else {
            return Err(being_named(host));
        };
        for identifier in identifiers {
            if let Some(owner) = self.claim_key(&identifier_key(identifier), host).await? {
                return Ok(Claim::Taken(Box::new(owner)));
            }
        }
        Ok(Claim::Granted(claim))
    }

    /// Claims the key of a name or id for a host. Returns the record of the active host to which
    /// the key already belongs, or `None` if the claim was granted.
    async fn claim_key(&self, key: &str, host: &HostId) -> Result<Option<HostRecord>, ErrorReply> {
        let (bucket_key, claimed) = (bucket_key(key), host.to_string());
        for _ in 0..MAX_ATTEMPTS {
            let entry = self.bucket.entry(&bucket_key).await.map_err(failed)?;
            let entry = entry.filter(|entry| entry.operation == Operation::Put);
            let value = claimed.clone().into();
            let Some(entry) = entry else {
                match self.bucket.create(&bucket_key, value).await {
                    Ok(revision) if self.is_granted(revision).await? => return Ok(None),
                    Ok(_) => continue,
                    Err(error) if error.kind() == CreateErrorKind::AlreadyExists => continue,
                    Err(error) => return Err(failed(error)),
                }
            };
            let owner = if entry.value == claimed {
                None
            } else {
                match self.find_owner(&entry.value, key).await {
                    // The claimant is being enrolled or renamed: its record is known in a moment.
                    Err(error) if error.code == ErrorCode::Overloaded => {
                        tokio::time::sleep(RETRY_DELAY).await;
                        continue;
                    }
                    owner => owner?,
                }
            };
            if owner.is_some() {
                return Ok(owner);
            }
            let updated = self.bucket.update(&bucket_key, value, entry.revision).await;
            match updated {
                Ok(revision) if self.is_granted(revision).await? => return Ok(None),
                Ok(_) => {}
                Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Err(retry_later(format!(
            "the name or id {key} is being claimed by other requests: repeat the request"
        )))
    }

    /// Waits until the names of all partitions' hosts are in the bucket. Returns whether they were
    /// there before the claim with this revision. If not, the name may belong to one of the hosts,
    /// so the claim must be repeated.
    async fn is_granted(&self, revision: u64) -> Result<bool, ErrorReply> {
        let started = Instant::now();
        loop {
            if let Some(filled_at) = self.filled_at().await? {
                return Ok(filled_at < revision);
            }
            if started.elapsed() > FILL_TIMEOUT {
                let why = "the registry of host names is being filled: repeat the request";
                return Err(retry_later(why.to_owned()));
            }
            tokio::time::sleep(RETRY_DELAY).await;
        }
    }

    /// Returns the revision at which the last partition added the names of its hosts, or `None` if
    /// a partition has not done so.
    async fn filled_at(&self) -> Result<Option<u64>, ErrorReply> {
        let markers = self.partitions.iter().map(|partition| async move {
            let marker = self.bucket.entry(marker_key(partition)).await;
            marker.map_err(failed)
        });
        let markers = try_join_all(markers).await?.into_iter();
        let revisions = markers.map(|marker| {
            let marker = marker.filter(|marker| marker.operation == Operation::Put);
            marker.map(|marker| marker.revision)
        });
        let revisions: Option<Vec<u64>> = revisions.collect();
        Ok(revisions.and_then(|revisions| revisions.into_iter().max()))
    }

    /// Returns the record of the host that made a claim, or `None` if the host is not active or
    /// does not have a name or id with the claimed key.
    ///
    /// # Errors
    /// If the leader of the host's partition rejects the request, or no valid reply arrives in
    /// time.
    async fn find_owner(
        &self,
        claimant: &[u8],
        key: &str,
    ) -> Result<Option<HostRecord>, ErrorReply> {
        let claimant = std::str::from_utf8(claimant).ok();
        let Some(host) = claimant.and_then(|text| text.parse::<HostId>().ok()) else {
            return Ok(None);
        };
        let partition = self.partitions.partition_of_host(&host);
        let request = HostsListRequest {
            host_uuid: Some(host),
            ..HostsListRequest::default()
        };
        let payload = serde_json::to_vec(&request).map_err(failed)?;
        let (client, payload) = (&self.client, payload.into());
        let list: HostsList = rpc::request(client, partition, Endpoint::HostsList, payload).await?;
        let mut hosts = list.hosts.into_iter();
        Ok(hosts.find(|host| {
            let keys = HostIdentity::from(host).keys();
            host.status != HostStatus::Decommissioned && keys.contains(key)
        }))
    }
}

/// Opens the bucket of claimed names, and creates it if it is missing.
pub(crate) async fn open_bucket(client: Client, replicas: usize) -> anyhow::Result<Store> {
    let config = kv::Config {
        bucket: subjects::NAMES_BUCKET.to_owned(),
        history: 1,
        num_replicas: replicas,
        ..kv::Config::default()
    };
    let name = config.bucket.clone();
    let opened = key_value::open(client, config, REQUEST_TIMEOUT).await;
    opened.map_err(|error| anyhow::anyhow!("cannot open the bucket {name}: {error}"))
}

/// Returns the bucket's key for the key of a name or id. Dots are replaced, because the bucket
/// allows dots in fewer places than a name.
pub(crate) fn bucket_key(identifier_key: &str) -> String {
    identifier_key.replace('.', "=")
}

/// Returns the key of the marker that shows that the names and ids of a partition's hosts are in
/// the bucket. No name or id contains a slash.
///
/// Earlier versions wrote only names, with the marker `filled/N`.
pub(super) fn marker_key(partition: Partition) -> String {
    format!("filled-with-ids/{partition}")
}

pub(super) fn failed(cause: impl std::fmt::Display) -> ErrorReply {
    let bucket = subjects::NAMES_BUCKET;
    let message =
        format!("cannot claim the name in the bucket {bucket}: {cause}: nothing was changed");
    ErrorReply::new(ErrorCode::StorageFailed, message)
}

fn being_named(host: &HostId) -> ErrorReply {
    retry_later(format!(
        "host {host} is being enrolled or renamed: repeat the request"
    ))
}
