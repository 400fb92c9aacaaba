//! Who leads: a key in a bucket on the NATS servers, which is gone when its holder has not renewed it for a while.
//!
//! A lease says who should write and answer, not who can: two clocks, or a process that was stopped amid a sentence, can make two
//! holders of it for a moment. What keeps the record from both is the sequence that each append expects (`store`). So a
//! holder counts its time from before it asked, and says nothing when that has passed.

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

/// How often a lease is renewed in its time.
const RENEWALS: u32 = 4;

/// How long the servers may take for an answer. What they are asked while they choose who leads the bucket, they do not answer
/// later: it is asked again, for a lease while that lasts.
const PATIENCE: Duration = Duration::from_secs(1);

/// The servers do not do it.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} in the bucket {bucket}: {cause}")]
pub struct LeaseError {
    action: &'static str,
    bucket: String,
    cause: String,
}

/// Where leases are.
#[derive(Debug, Clone)]
pub struct LeaseBucket {
    bucket: Store,
    ttl: Duration,
    /// This process, among all.
    holder: Bytes,
}

/// What this process holds, until it is dropped or lost.
#[derive(Debug)]
pub struct Lease {
    leases: LeaseBucket,
    key: String,
    revision: u64,
    held: LeaseGuard,
}

/// Whether a lease is held: to be asked right before anything is told.
#[derive(Debug, Clone)]
pub struct LeaseGuard {
    since: Instant,
    until: Arc<Until>,
}

/// Until when: by both clocks, since the steady one stands still with a machine that is suspended, and the other can be set.
#[derive(Debug, Default)]
struct Until {
    /// In milliseconds after `since`.
    steady: AtomicU64,
    /// In milliseconds since 1970.
    wall: AtomicI64,
}

/// When the servers were asked for a lease.
#[derive(Debug, Clone, Copy)]
struct LeaseRequest {
    steady: Instant,
    wall: Timestamp,
}

impl LeaseRequest {
    fn now() -> Self {
        Self {
            steady: Instant::now(),
            wall: clock::now(),
        }
    }
}

impl LeaseBucket {
    /// Opens the bucket; makes it if it is missing.
    ///
    /// # Errors
    /// The servers do not do it.
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
        let opened = key_value::open(client, config, PATIENCE).await;
        let opened = opened.map_err(failed("open", bucket))?;
        Ok(Self {
            bucket: opened,
            ttl,
            holder: Uuid::now_v7().to_string().into(),
        })
    }

    /// The bucket.
    pub fn bucket(&self) -> &Store {
        &self.bucket
    }

    /// Whether nobody has a lease, as far as the servers say.
    pub async fn is_free(&self, key: &str) -> bool {
        let entry = self.bucket.entry(key).await;
        entry.is_ok_and(|entry| entry.is_none_or(|entry| entry.operation != kv::Operation::Put))
    }

    /// Takes a lease, unless somebody has it.
    ///
    /// # Errors
    /// The servers do not answer. It may have been taken all the same; then it ends by itself.
    pub async fn take(&self, key: &str) -> Result<Option<Lease>, LeaseError> {
        let failed = failed("take a lease", &self.bucket.name);
        let asked = LeaseRequest::now();
        match self.bucket.create(key, self.holder.clone()).await {
            Ok(revision) => Ok(Some(Lease {
                leases: self.clone(),
                key: key.to_owned(),
                revision,
                held: LeaseGuard::from(asked, self.ttl),
            })),
            Err(error) if error.kind() == CreateErrorKind::AlreadyExists => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }
}

impl Lease {
    /// Whether it is held, now and later.
    pub fn guard(&self) -> LeaseGuard {
        self.held.clone()
    }

    /// Renews it until it is lost.
    pub async fn keep(&mut self) {
        let pause = self.leases.ttl / RENEWALS;
        while let Some(left) = self.held.left() {
            tokio::time::sleep(pause.min(left)).await;
            let asked = LeaseRequest::now();
            let renewed = self.renew();
            match tokio::time::timeout(self.held.left().unwrap_or_default(), renewed).await {
                Ok(Some(revision)) => {
                    self.revision = revision;
                    self.held.extend(asked, self.leases.ttl);
                }
                Ok(None) => return,
                Err(_) => {}
            }
        }
    }

    /// Its new revision; none if somebody else has it.
    async fn renew(&self) -> Option<u64> {
        let LeaseBucket { bucket, holder, .. } = &self.leases;
        let mut revision = self.revision;
        loop {
            match bucket.update(&self.key, holder.clone(), revision).await {
                Ok(revision) => return Some(revision),
                Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => {
                    // Its own renewal, whose acknowledgement was lost; or somebody else.
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
            tokio::time::sleep(self.leases.ttl / RENEWALS / 4).await;
        }
    }

    /// Gives it back, for somebody else to take at once. Best effort: it ends by itself, too.
    pub async fn release(self) {
        self.held.end();
        let LeaseBucket {
            bucket,
            ttl,
            holder,
        } = &self.leases;
        let delete = |revision| bucket.delete_expect_revision(&self.key, Some(revision));
        let given_back = async {
            if delete(self.revision).await.is_err()
                // It may have been renewed without hearing of that.
                && let Ok(Some(entry)) = bucket.entry(&self.key).await
                && entry.value == *holder
            {
                let _ = delete(entry.revision).await;
            }
        };
        let _ = tokio::time::timeout(*ttl, given_back).await;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.held.end();
    }
}

impl LeaseGuard {
    /// By the only one there is.
    pub fn alone() -> Self {
        Self {
            since: Instant::now(),
            until: Arc::new(Until {
                steady: AtomicU64::new(u64::MAX),
                wall: AtomicI64::new(i64::MAX),
            }),
        }
    }

    fn from(asked: LeaseRequest, ttl: Duration) -> Self {
        let held = Self {
            since: asked.steady,
            until: Arc::default(),
        };
        held.extend(asked, ttl);
        held
    }

    fn extend(&self, asked: LeaseRequest, ttl: Duration) {
        let steady = (asked.steady + ttl).saturating_duration_since(self.since);
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let wall = asked.wall.as_millis().saturating_add_unsigned(millis(ttl));
        self.until.wall.store(wall, Ordering::SeqCst);
        self.until.steady.store(millis(steady), Ordering::SeqCst);
    }

    fn end(&self) {
        self.until.steady.store(0, Ordering::SeqCst);
    }

    /// How much longer; none if it is not held any more.
    fn left(&self) -> Option<Duration> {
        let steady = Duration::from_millis(self.until.steady.load(Ordering::SeqCst));
        let steady = steady.checked_sub(self.since.elapsed())?;
        let wall = self.until.wall.load(Ordering::SeqCst);
        let wall = u64::try_from(wall.saturating_sub(clock::now().as_millis())).ok()?;
        let left = steady.min(Duration::from_millis(wall));
        (!left.is_zero()).then_some(left)
    }

    /// Whether it is held.
    pub fn is_valid(&self) -> bool {
        self.left().is_some()
    }
}

/// For `map_err`: what was not done.
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
