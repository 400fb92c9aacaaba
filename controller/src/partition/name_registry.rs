//! Whose a host's name is, where the hosts are divided: the leader who enrolls a host sees only its own. So a name is claimed in a
//! bucket on the NATS servers before the host is put on record.
//!
//! A claim outlives what was to come of it: its host may never have been put on record, or have been taken off it. Then the name is
//! free, and whoever wants it asks the leader of the claimant's partition. Two things make that safe. A leader says nothing
//! of a host that it is about to enroll. And whoever enrolls a host writes its claim anew, with what it expects to be there, so that of
//! two who want a name one is refused.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::kv::{self, CreateErrorKind, Operation, Store, UpdateErrorKind};
use scuttle_schemas::hosts::{EnrollRequest, HostRecord, HostStatus, HostsList, HostsListRequest};
use scuttle_schemas::{ErrorCode, ErrorReply, HostId, HostName, PartitionCount, subjects};
use tokio::sync::Semaphore;

use crate::nats::key_value;
use crate::partition::rpc::ask;
use crate::request::endpoint::Endpoint;
use crate::request::serve;

/// How long the servers may take for an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// How many names are claimed at once: each waits for an fsync or two of the servers.
const AT_ONCE: usize = 32;

/// Between two attempts while another enrolment is under way.
const PAUSE: Duration = Duration::from_millis(50);

/// How often a claim is tried that others write, too.
const ATTEMPTS: usize = 8;

/// The names of a divided swarm's hosts.
#[derive(Debug, Clone)]
pub struct Names {
    client: Client,
    bucket: Store,
    of: PartitionCount,
    enrolling: Arc<Mutex<BTreeSet<HostId>>>,
    at_once: Arc<Semaphore>,
}

/// A host that is about to be enrolled, until this is dropped.
#[derive(Debug)]
pub struct Enrolling {
    host: HostId,
    all: Arc<Mutex<BTreeSet<HostId>>>,
}

/// What became of a claim.
#[derive(Debug)]
pub enum Claim {
    /// The name is this host's: it may be put on record.
    Granted(Enrolling),
    /// The name is of a living host, and no other was asked for.
    Held(Box<HostRecord>),
}

impl Claim {
    /// What is to be kept until the host is on record, if the claim was granted.
    pub fn granted(self) -> Option<Enrolling> {
        match self {
            Self::Granted(enrolling) => Some(enrolling),
            Self::Held(_) => None,
        }
    }
}

impl Drop for Enrolling {
    fn drop(&mut self) {
        let all = self.all.lock();
        all.unwrap_or_else(PoisonError::into_inner)
            .remove(&self.host);
    }
}

impl Names {
    /// Opens the bucket; makes it if it is missing.
    ///
    /// # Errors
    /// The servers do not do it.
    pub async fn open(client: Client, replicas: usize, of: PartitionCount) -> anyhow::Result<Self> {
        let bucket = open(client.clone(), replicas).await?;
        Ok(Self {
            client,
            bucket,
            of,
            enrolling: Arc::default(),
            at_once: Arc::new(Semaphore::new(AT_ONCE)),
        })
    }

    /// Why nothing is said of a host that is about to be enrolled: what is on record of it may be other in a moment.
    pub fn is_unsaid(&self, host: &HostId) -> Option<ErrorReply> {
        let enrolling = self.enrolling.lock();
        let enrolling = enrolling.unwrap_or_else(PoisonError::into_inner);
        let unsaid = enrolling.contains(host);
        unsaid.then(|| again(&format!("host {host} is being enrolled")))
    }

    fn enrolling(&self, host: HostId) -> Option<Enrolling> {
        let all = self.enrolling.clone();
        let new = (all.lock().unwrap_or_else(PoisonError::into_inner)).insert(host.clone());
        // What is not new is not ours to drop.
        new.then(|| Enrolling { host, all })
    }

    /// Claims the name of a host that is to be enrolled under the id that it was given, else under `fresh`.
    ///
    /// # Errors
    /// `bad_request`: the name belongs to another living host. Or the servers or another leader do not answer: nothing was
    /// enrolled.
    pub async fn claim(&self, request: &EnrollRequest, fresh: HostId) -> Result<Claim, ErrorReply> {
        let _permit = self.at_once.acquire().await;
        let host = request.host_uuid.clone().unwrap_or(fresh);
        let Some(enrolling) = self.enrolling(host.clone()) else {
            return Err(again(&format!("host {host} is being enrolled")));
        };
        let (key, claimed) = (key(&request.name), host.to_string());
        for _ in 0..ATTEMPTS {
            let entry = self.bucket.entry(&key).await.map_err(failed)?;
            let entry = entry.filter(|entry| entry.operation == Operation::Put);
            let Some(entry) = entry else {
                match self.bucket.create(&key, claimed.clone().into()).await {
                    Ok(_) => return Ok(Claim::Granted(enrolling)),
                    Err(error) if error.kind() == CreateErrorKind::AlreadyExists => continue,
                    Err(error) => return Err(failed(error)),
                }
            };
            let holder = if entry.value == claimed {
                None
            } else {
                match self.holder(&entry.value, &request.name).await {
                    // It is about to be enrolled: in a moment it is known what it is.
                    Err(refusal) if refusal.code == ErrorCode::Overloaded => {
                        tokio::time::sleep(PAUSE).await;
                        continue;
                    }
                    holder => holder?,
                }
            };
            if let Some(holder) = holder {
                return match &request.host_uuid {
                    None => Ok(Claim::Held(Box::new(holder))),
                    Some(_) => Err(ErrorReply::new(
                        ErrorCode::BadRequest,
                        format!(
                            "the name {} belongs to host {}",
                            request.name, holder.host_uuid
                        ),
                    )),
                };
            }
            let value = claimed.clone().into();
            match self.bucket.update(&key, value, entry.revision).await {
                Ok(_) => return Ok(Claim::Granted(enrolling)),
                Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Err(again(&format!(
            "others claim the name {}, too",
            request.name
        )))
    }

    /// The living host of that name that a claim is of.
    async fn holder(
        &self,
        claimant: &[u8],
        name: &HostName,
    ) -> Result<Option<HostRecord>, ErrorReply> {
        let claimant = std::str::from_utf8(claimant).ok();
        let Some(host) = claimant.and_then(|text| text.parse::<HostId>().ok()) else {
            return Ok(None);
        };
        let partition = self.of.partition_of_host(&host);
        let request = HostsListRequest {
            host_uuid: Some(host),
            ..HostsListRequest::default()
        };
        let payload = serde_json::to_vec(&request).map_err(failed)?;
        let list: HostsList =
            ask(&self.client, partition, Endpoint::HostsList, payload.into()).await?;
        let mut hosts = list.hosts.into_iter();
        Ok(hosts.find(|host| host.status != HostStatus::Decommissioned && host.name == *name))
    }
}

/// Opens the bucket of names; makes it if it is missing.
pub(crate) async fn open(client: Client, replicas: usize) -> anyhow::Result<Store> {
    let config = kv::Config {
        bucket: subjects::NAMES_BUCKET.to_owned(),
        history: 1,
        num_replicas: replicas,
        ..kv::Config::default()
    };
    let name = config.bucket.clone();
    let opened = key_value::open(client, config, PATIENCE).await;
    opened.map_err(|error| anyhow::anyhow!("cannot make the bucket {name}: {error}"))
}

/// A key may not have every dot that a name may.
pub(crate) fn key(name: &HostName) -> String {
    name.as_str().replace('.', "=")
}

fn failed(cause: impl std::fmt::Display) -> ErrorReply {
    let bucket = subjects::NAMES_BUCKET;
    let message =
        format!("the name cannot be claimed in the bucket {bucket}: {cause}: nothing was enrolled");
    ErrorReply::new(ErrorCode::StorageFailed, message)
}

fn again(what: &str) -> ErrorReply {
    serve::later(format!("{what}: ask again"))
}
