//! The owners of host names, if the hosts are divided into partitions. The leader that enrolls a
//! host knows only the hosts of its partition. It therefore claims the name in a bucket on the NATS
//! servers before it puts the host on record.
//!
//! A claim may outlive its host: the host may never have been put on record, or may have been
//! removed from it. The name is then free. A leader that wants a claimed name therefore requests
//! the claimant's record from the leader of the claimant's partition. Two rules make this safe:
//!
//! - A leader does not return the record of a host that it is about to enroll.
//! - A leader that takes over a claim writes it with the revision that it expects. So if two
//!   leaders want one name, one of them is rejected.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::kv::{self, CreateErrorKind, Operation, Store, UpdateErrorKind};
use scuttle_schemas::hosts::{EnrollRequest, HostRecord, HostStatus, HostsList, HostsListRequest};
use scuttle_schemas::{ErrorCode, ErrorReply, HostId, HostName, PartitionCount, subjects};
use tokio::sync::Semaphore;

use crate::nats::key_value;
use crate::partition::rpc;
use crate::request::endpoint::Endpoint;
use crate::request::rejection::retry_later;

/// The timeout for a reply of the NATS servers.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// The maximum number of names that are claimed concurrently. Each claim waits for one or two
/// fsyncs of the servers.
const MAX_CONCURRENT: usize = 32;

/// The delay between two attempts while another leader enrolls a host with the same name.
const RETRY_DELAY: Duration = Duration::from_millis(50);

/// The maximum number of attempts to write a claim while other leaders write the same claim.
const MAX_ATTEMPTS: usize = 8;

/// The registry of host names in all partitions. Clones share the limits.
#[derive(Debug, Clone)]
pub struct NameRegistry {
    client: Client,
    bucket: Store,
    partitions: PartitionCount,
    /// The hosts that this leader is about to enroll.
    enrolling: Arc<Mutex<BTreeSet<HostId>>>,
    permits: Arc<Semaphore>,
}

/// Marks a host as about to be enrolled, until the claim is dropped. While the host is marked, its
/// leader does not return its record.
#[derive(Debug)]
pub struct NameClaim {
    host: HostId,
    enrolling: Arc<Mutex<BTreeSet<HostId>>>,
}

/// The outcome of a claim.
#[derive(Debug)]
pub enum Claim {
    /// The host has the name and may be put on record.
    Granted(NameClaim),
    /// An active host already has the name, and the request did not name another host.
    Taken(Box<HostRecord>),
}

impl Claim {
    /// Returns the claim if it was granted. The caller must keep the claim until the host is on
    /// record.
    pub fn granted(self) -> Option<NameClaim> {
        match self {
            Self::Granted(claim) => Some(claim),
            Self::Taken(_) => None,
        }
    }
}

impl Drop for NameClaim {
    fn drop(&mut self) {
        let enrolling = self.enrolling.lock();
        enrolling
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.host);
    }
}

impl NameRegistry {
    /// Opens the bucket, and creates it if it is missing.
    pub async fn open(
        client: Client,
        replicas: usize,
        partitions: PartitionCount,
    ) -> anyhow::Result<Self> {
        let bucket = open_bucket(client.clone(), replicas).await?;
        Ok(Self {
            client,
            bucket,
            partitions,
            enrolling: Arc::default(),
            permits: Arc::new(Semaphore::new(MAX_CONCURRENT)),
        })
    }

    /// Returns an error if the host is being enrolled, because its record may be about to change.
    /// Returns `None` otherwise.
    pub fn reject_while_enrolling(&self, host: &HostId) -> Option<ErrorReply> {
        let enrolling = self.enrolling.lock();
        let enrolling = enrolling.unwrap_or_else(PoisonError::into_inner);
        let is_enrolling = enrolling.contains(host);
        is_enrolling.then(|| being_enrolled(host))
    }

    /// Marks a host as about to be enrolled, unless another request has done so.
    fn mark_enrolling(&self, host: HostId) -> Option<NameClaim> {
        let enrolling = self.enrolling.clone();
        let hosts = enrolling.lock();
        let is_new = (hosts.unwrap_or_else(PoisonError::into_inner)).insert(host.clone());
        is_new.then(|| NameClaim { host, enrolling })
    }

    /// Claims the name of a host to be enrolled, for the id that the request gives, or else for
    /// `new_id`.
    ///
    /// # Errors
    /// `bad_request` if the name belongs to another active host. Another error if the servers or
    /// another leader do not reply. In both cases, no host was enrolled.
    pub async fn claim(
        &self,
        request: &EnrollRequest,
        new_id: HostId,
    ) -> Result<Claim, ErrorReply> {
        let _permit = self.permits.acquire().await;
        let host = request.host_uuid.clone().unwrap_or(new_id);
        let Some(claim) = self.mark_enrolling(host.clone()) else {
            return Err(being_enrolled(&host));
        };
        let (key, claimed) = (bucket_key(&request.name), host.to_string());
        for _ in 0..MAX_ATTEMPTS {
            let entry = self.bucket.entry(&key).await.map_err(failed)?;
            let entry = entry.filter(|entry| entry.operation == Operation::Put);
            let Some(entry) = entry else {
                match self.bucket.create(&key, claimed.clone().into()).await {
                    Ok(_) => return Ok(Claim::Granted(claim)),
                    Err(error) if error.kind() == CreateErrorKind::AlreadyExists => continue,
                    Err(error) => return Err(failed(error)),
                }
            };
            let owner = if entry.value == claimed {
                None
            } else {
                match self.find_owner(&entry.value, &request.name).await {
                    // The claimant is being enrolled: its record is known in a moment.
                    Err(error) if error.code == ErrorCode::Overloaded => {
                        tokio::time::sleep(RETRY_DELAY).await;
                        continue;
                    }
                    owner => owner?,
                }
            };
            if let Some(owner) = owner {
                return match &request.host_uuid {
                    None => Ok(Claim::Taken(Box::new(owner))),
                    Some(_) => Err(ErrorReply::new(
                        ErrorCode::BadRequest,
                        format!(
                            "the name {} belongs to host {}",
                            request.name, owner.host_uuid
                        ),
                    )),
                };
            }
            let value = claimed.clone().into();
            match self.bucket.update(&key, value, entry.revision).await {
                Ok(_) => return Ok(Claim::Granted(claim)),
                Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => {}
                Err(error) => return Err(failed(error)),
            }
        }
        let why = format!("the name {} is being claimed by others", request.name);
        Err(retry_later(format!("{why}: repeat the request")))
    }

    /// Returns the host that made a claim, if it is active and has the claimed name.
    async fn find_owner(
        &self,
        claimant: &[u8],
        name: &HostName,
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
        Ok(hosts.find(|host| host.status != HostStatus::Decommissioned && host.name == *name))
    }
}

/// Opens the bucket of names, and creates it if it is missing.
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

/// Returns the bucket's key for a name. The name is encoded, because a key does not allow dots in
/// every place where a name does.
pub(crate) fn bucket_key(name: &HostName) -> String {
    name.as_str().replace('.', "=")
}

fn failed(cause: impl std::fmt::Display) -> ErrorReply {
    let bucket = subjects::NAMES_BUCKET;
    let message =
        format!("cannot claim the name in the bucket {bucket}: {cause}: nothing was enrolled");
    ErrorReply::new(ErrorCode::StorageFailed, message)
}

fn being_enrolled(host: &HostId) -> ErrorReply {
    retry_later(format!("host {host} is being enrolled: repeat the request"))
}
