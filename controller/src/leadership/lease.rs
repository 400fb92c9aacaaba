//! Leases. A lease is a key in a bucket on the NATS servers. The key expires unless its holder
//! renews it.
//!
//! A lease determines which controller should write and reply. It cannot guarantee that there is
//! only one holder: if clocks differ, or if a process was suspended at the wrong moment, two
//! controllers can briefly hold the same lease. Two measures make this harmless:
//!
//! - Each append to the journal (`store`) states the sequence that it expects, so only one of the
//!   two controllers can write.
//! - A holder measures the lease's lifetime from the moment before it requested the lease, and
//!   sends nothing after that lifetime.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_nats::Client;
use async_nats::jetstream::kv::{self, CreateErrorKind, Store, UpdateErrorKind};
use bytes::Bytes;
use scuttle_schemas::Timestamp;
use uuid::Uuid;

use crate::clock;
use crate::nats::key_value;

/// The duration after which a lease expires unless it is renewed. A dead leader is replaced after
/// about this time. A leader steps down if the NATS servers take longer than this to reply.
pub const LEASE_TTL: Duration = Duration::from_secs(2);

/// The number of renewals during the lifetime of a lease.
const RENEWALS_PER_TTL: u32 = 4;

/// The timeout for a reply from the NATS servers. The servers drop requests while they elect a
/// leader for the bucket, so a request is repeated after the timeout. A renewal is repeated until
/// the lease expires.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

/// The error of a failed request to the bucket of leases.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} the bucket {bucket}: {cause}{}", advise_on_replicas(.cause))]
pub struct LeaseError {
    action: &'static str,
    bucket: String,
    cause: String,
}

/// The bucket that contains the leases.
#[derive(Debug, Clone)]
pub struct LeaseBucket {
    bucket: Store,
    client: Client,
    config: kv::Config,
    ttl: Duration,
    /// A unique id of this holder, which is the value of the leases that it acquires.
    holder: Bytes,
}

/// A lease that this process acquired. The process holds it until it expires, is released or is
/// dropped.
#[derive(Debug)]
pub struct Lease {
    leases: LeaseBucket,
    key: String,
    revision: u64,
    guard: LeaseGuard,
}

/// A guard that shows whether a lease is still held. Must be checked right before messages are
/// sent. Clones refer to the same lease.
#[derive(Debug, Clone)]
pub struct LeaseGuard {
    since: Instant,
    expiry: Arc<Expiry>,
}

/// The time at which a lease expires, according to two clocks. Neither clock suffices: the
/// monotonic clock stands still while the machine is suspended, and the wall clock can be set.
#[derive(Debug, Default)]
struct Expiry {
    /// The time on the monotonic clock, in milliseconds after [`LeaseGuard::since`].
    monotonic: AtomicU64,
    /// The time on the wall clock, in milliseconds since 1970.
    wall: AtomicI64,
}

/// The time of a request for a lease or for its renewal, according to both clocks.
#[derive(Debug, Clone, Copy)]
struct LeaseRequest {
    monotonic: Instant,
    wall: Timestamp,
}

impl LeaseRequest {
    fn now() -> Self {
        Self {
            monotonic: Instant::now(),
            wall: clock::now(),
        }
    }
}

impl LeaseBucket {
    /// Opens the bucket, and creates it if it is missing. `ttl` is the lifetime of a lease.
    ///
    /// # Errors
    /// If the servers reject the request or do not reply.
    pub async fn open(
        client: Client,
        bucket: &str,
        replicas: usize,
        ttl: Duration,
    ) -> Result<Self, LeaseError> {
        let config = kv::Config {
            bucket: bucket.to_owned(),
            history: 1,
            max_age: ttl,
            num_replicas: replicas,
            ..kv::Config::default()
        };
        let opened = key_value::open(client.clone(), config.clone(), REQUEST_TIMEOUT).await;
        let opened = opened.map_err(failed("open", bucket))?;
        Ok(Self {
            bucket: opened,
            client,
            config,
            ttl,
            holder: Uuid::now_v7().to_string().into(),
        })
    }

    pub fn bucket(&self) -> &Store {
        &self.bucket
    }

    /// Creates the bucket again if it was deleted.
    ///
    /// # Errors
    /// If the servers reject the request or do not reply.
    pub async fn create_if_missing(&self) -> Result<(), LeaseError> {
        let (client, config) = (self.client.clone(), self.config.clone());
        let opened = key_value::open(client, config, REQUEST_TIMEOUT).await;
        opened.map(drop).map_err(failed("open", &self.bucket.name))
    }

    /// Keeps a mark in the bucket, which expires like a lease. Several processes can keep the same
    /// mark. Never returns; dropping the future lets the mark expire.
    pub async fn keep_mark(&self, key: &str) {
        loop {
            if self.bucket.put(key, self.holder.clone()).await.is_err() {
                // The bucket may have been deleted.
                let _ = self.create_if_missing().await;
            }
            tokio::time::sleep(self.ttl / RENEWALS_PER_TTL).await;
        }
    }

    /// Returns whether the mark exists, because at least one process renews it.
    ///
    /// # Errors
    /// If the request fails, for example because the servers do not reply.
    pub async fn is_marked(&self, key: &str) -> Result<bool, LeaseError> {
        let entry = self.bucket.entry(key).await;
        let entry = entry.map_err(failed("read a mark in", &self.bucket.name))?;
        Ok(entry.is_some_and(|entry| entry.operation == kv::Operation::Put))
    }

    /// Returns whether the lease has no holder. Returns false if the request fails.
    pub async fn is_free(&self, key: &str) -> bool {
        let entry = self.bucket.entry(key).await;
        entry.is_ok_and(|entry| entry.is_none_or(|entry| entry.operation != kv::Operation::Put))
    }

    /// Tries to acquire a lease. Returns `None` if the lease already has a holder.
    ///
    /// # Errors
    /// If the request fails, for example because the servers do not reply. The lease may have been
    /// acquired nevertheless. In this case, it expires.
    pub async fn try_acquire(&self, key: &str) -> Result<Option<Lease>, LeaseError> {
        let failed = failed("acquire a lease in", &self.bucket.name);
        let request = LeaseRequest::now();
        match self.bucket.create(key, self.holder.clone()).await {
            Ok(revision) => Ok(Some(Lease {
                leases: self.clone(),
                key: key.to_owned(),
                revision,
                guard: LeaseGuard::from_request(request, self.ttl),
            })),
            Err(error) if error.kind() == CreateErrorKind::AlreadyExists => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }
}

impl Lease {
    pub fn guard(&self) -> LeaseGuard {
        self.guard.clone()
    }

    /// Renews the lease until it expires or another process holds it.
    pub async fn keep_renewing(&mut self) {
        let interval = self.leases.ttl / RENEWALS_PER_TTL;
        while let Some(remaining) = self.guard.remaining() {
            tokio::time::sleep(interval.min(remaining)).await;
            let request = LeaseRequest::now();
            let renewed = self.renew();
            match tokio::time::timeout(self.guard.remaining().unwrap_or_default(), renewed).await {
                Ok(Some(revision)) => {
                    self.revision = revision;
                    self.guard.extend(request, self.leases.ttl);
                }
                Ok(None) => return,
                Err(_) => {}
            }
        }
    }

    /// Repeats the renewal until it succeeds. Returns the new revision, or `None` as soon as
    /// another process is known to hold the lease.
    async fn renew(&self) -> Option<u64> {
        let LeaseBucket { bucket, holder, .. } = &self.leases;
        let mut revision = self.revision;
        loop {
            match bucket.update(&self.key, holder.clone(), revision).await {
                Ok(revision) => return Some(revision),
                Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => {
                    // Either an earlier renewal whose acknowledgement was lost, or another process.
                    if let Ok(Some(entry)) = bucket.entry(&self.key).await {
                        if entry.value != *holder {
                            return None;
                        }
                        if entry.revision > revision {
                            revision = entry.revision;
                            continue;
                        }
                    }
                }
                Err(_) => {}
            }
            tokio::time::sleep(self.leases.ttl / RENEWALS_PER_TTL / 4).await;
        }
    }

    /// Releases the lease, so that another process can acquire it immediately. If the release
    /// fails, the lease remains taken until it expires.
    pub async fn release(self) {
        self.guard.end();
        let LeaseBucket {
            bucket,
            ttl,
            holder,
            ..
        } = &self.leases;
        let delete = |revision| bucket.delete_expect_revision(&self.key, Some(revision));
        let releasing = async {
            if delete(self.revision).await.is_err()
                // The last renewal may have succeeded without an acknowledgement.
                && let Ok(Some(entry)) = bucket.entry(&self.key).await
                && entry.value == *holder
            {
                let _ = delete(entry.revision).await;
            }
        };
        let _ = tokio::time::timeout(*ttl, releasing).await;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.guard.end();
    }
}

impl LeaseGuard {
    /// Returns a guard that never expires, for the only controller of a swarm.
    pub fn unlimited() -> Self {
        Self {
            since: Instant::now(),
            expiry: Arc::new(Expiry {
                monotonic: AtomicU64::new(u64::MAX),
                wall: AtomicI64::new(i64::MAX),
            }),
        }
    }

    fn from_request(request: LeaseRequest, ttl: Duration) -> Self {
        let guard = Self {
            since: request.monotonic,
            expiry: Arc::default(),
        };
        guard.extend(request, ttl);
        guard
    }

    fn extend(&self, request: LeaseRequest, ttl: Duration) {
        let monotonic = (request.monotonic + ttl).saturating_duration_since(self.since);
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let wall = request
            .wall
            .as_millis()
            .saturating_add_unsigned(millis(ttl));
        self.expiry.wall.store(wall, Ordering::SeqCst);
        self.expiry
            .monotonic
            .store(millis(monotonic), Ordering::SeqCst);
    }

    fn end(&self) {
        self.expiry.monotonic.store(0, Ordering::SeqCst);
    }

    /// Returns the time until the lease expires, or `None` if the lease is not held.
    fn remaining(&self) -> Option<Duration> {
        let monotonic = Duration::from_millis(self.expiry.monotonic.load(Ordering::SeqCst));
        let monotonic = monotonic.checked_sub(self.since.elapsed())?;
        let wall = self.expiry.wall.load(Ordering::SeqCst);
        let wall = u64::try_from(wall.saturating_sub(clock::now().as_millis())).ok()?;
        let remaining = monotonic.min(Duration::from_millis(wall));
        (!remaining.is_zero()).then_some(remaining)
    }

    pub fn is_valid(&self) -> bool {
        self.remaining().is_some()
    }
}

/// Returns the remedy if a single server is asked for several replicas, or an empty string
/// otherwise.
fn advise_on_replicas(cause: &str) -> &'static str {
    if cause.contains("replicas > 1 not supported") {
        "; with a single NATS server, start the controllers with --replicas 1; for more replicas, run a cluster of NATS servers"
    } else {
        ""
    }
}

/// Returns a function for `map_err` that converts the cause of a failed request into a
/// [`LeaseError`].
fn failed<E: std::fmt::Display>(
    action: &'static str,
    bucket: &str,
) -> impl FnOnce(E) -> LeaseError {
    let bucket = bucket.to_owned();
    move |cause| LeaseError {
        action,
        bucket,
        cause: cause.to_string(),
    }
}
