//! One of several controllers: follows the leader of a partition, and leads when it acquires the
//! lease. The lease only determines which controller should try to lead. The journal
//! (`store::replicated`) ensures that only one controller can write.

use std::fmt::Display;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::Context;
use async_nats::Client;
use scuttle_nats::ConnectConfig;
use scuttle_schemas::{ErrorReply, subjects};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

use crate::leadership::buckets::Buckets;
use crate::leadership::follower::Follower;
use crate::leadership::leader::LeaderContext;
use crate::leadership::lease::{Lease, LeaseBucket};
use crate::leadership::rebalance::Rebalancer;
use crate::leadership::term::{StopReason, Term};
use crate::nats::connection::Connected;
use crate::nats::replicas::ReplicaDifference;
use crate::observability::audit::Audit;
use crate::observability::health::Health;
use crate::observability::metrics::Metrics;
use crate::ops::backup::BackupServer;
use crate::peers::instance::{Instance, RecordStore};
use crate::peers::presence::Connections;
use crate::peers::startup::wait_until_allowed;
use crate::request::discovery::{self, Metadata};
use crate::store::file_watch::FileWatch;
use crate::store::{JournalStream, StoreError};

/// The interval at which a candidate tries to acquire the lease. It delays a takeover by at most an
/// eighth of [`LEASE_TTL`](crate::leadership::lease::LEASE_TTL).
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// The duration for which a controller holds back from a free lease, so that a controller that
/// leads fewer partitions can take it. It is longer than [`POLL_INTERVAL`], so the other controller
/// tries to acquire the lease within this time.
const DEFER_DELAY: Duration = Duration::from_millis(600);

/// The delay before a failed request to the NATS servers is repeated.
pub(super) const RETRY_DELAY: Duration = Duration::from_millis(500);

/// A controller that follows one partition, and leads the partition while it holds the lease.
#[derive(Debug)]
pub struct Candidate<'a> {
    /// The directory that contains the partition's rows.
    pub data_dir: &'a Path,
    /// The partition's journal, which all controllers share.
    pub stream: JournalStream,
    /// The connection for the lease. It is separate from the connection of `stream`, so that
    /// writing to the stream does not delay a renewal.
    pub lease_client: Client,
    pub rebalancer: Rebalancer,
    /// How a leader connects for receiving.
    pub access: &'a ConnectConfig,
    /// Whether the connection of `stream` is up.
    pub connected: Connected,
    pub audit: &'a Audit,
    pub metrics: &'a Metrics,
    pub health: &'a Health,
    /// The metadata that service discovery shows, in addition to that of the leader.
    pub metadata: Metadata,
    pub shutdown: CancellationToken,
}

/// The next step after following or leading has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Read the whole record again, then follow.
    Reload,
    /// Stop, because the process shuts down or the NATS client has ended.
    Stop,
}

/// Logs why a candidate waits. A reason is logged only when it differs from the previous one.
#[derive(Default)]
pub(super) struct WaitLog {
    last_reason: String,
}

impl WaitLog {
    pub(super) fn log(&mut self, reason: &dyn Display) {
        let reason = reason.to_string();
        if self.last_reason != reason {
            warn!("{reason}");
            self.last_reason = reason;
        }
    }
}

impl Candidate<'_> {
    /// Alternates between following and leading, until the process shuts down or the NATS client
    /// ends.
    ///
    /// # Errors
    /// If the rows cannot be read or written or belong to another journal, or if the journal has
    /// invalid content or belongs to a swarm with another number of partitions.
    pub async fn run(self) -> anyhow::Result<()> {
        // Asks before anything is created on the servers, and again when the record is known.
        if !self.wait_until_allowed(None).await? {
            return Ok(());
        }
        let Some(buckets) = self.open_buckets().await else {
            return Ok(());
        };
        let mut is_allowed = false;
        while !self.shutdown.is_cancelled() {
            self.health.set_loading();
            let partition = self.stream.assignment.partition;
            self.rebalancer.set_loading(partition);
            let Some(follower) = self.load(&buckets).await? else {
                return Ok(());
            };
            if !is_allowed && !self.wait_until_allowed(follower.state.record()).await? {
                return Ok(());
            }
            is_allowed = true;
            let differences = self.check_replicas().await;
            info!("following: {}", follower.state.row_counts());
            self.health.set_following(self.connected.clone());
            self.rebalancer.set_following(partition);
            let snapshots = follower.store.snapshots();
            let snapshots = snapshots.with_journal(Handle::current(), self.stream.clone());
            let backups = BackupServer::start(self.data_dir, snapshots);
            let file = FileWatch::start(self.data_dir);
            let mut next = Box::pin(self.follow_then_lead(follower, &buckets, &differences));
            let next = tokio::select! {
                next = &mut next => next,
                removed = file.wait_until_replaced() => {
                    self.shutdown.cancel();
                    next.await.and(Err(removed.into()))
                }
            };
            backups.stop().await;
            if next? == Next::Stop {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Returns true if no conflicting controller answers, so that this controller may serve
    /// `record`. Otherwise refuses to serve until the process shuts down, and returns false.
    /// `record` is `None` until the record is loaded.
    async fn wait_until_allowed(&self, record: Option<Uuid>) -> anyhow::Result<bool> {
        let own = Instance::new(record, RecordStore::JetStream);
        let connections = Connections {
            client: &self.stream.client,
            connected: &self.connected,
            access: self.access,
            audit: self.audit,
            metrics: self.metrics,
        };
        let allowed = wait_until_allowed(&own, connections, self.health, &self.shutdown).await?;
        Ok(allowed.is_some())
    }

    /// Returns the identity to give to a record that has none. All partitions of a swarm get the
    /// same identity.
    async fn propose_record(&self, buckets: &Buckets) -> Result<Uuid, ErrorReply> {
        let new = Uuid::now_v7();
        match &buckets.names {
            Some(names) => names.share_record(new).await,
            None => Ok(new),
        }
    }

    /// Opens the buckets, and retries until it succeeds. Returns `None` if the process shuts down
    /// first.
    async fn open_buckets(&self) -> Option<Buckets> {
        let mut wait_log = WaitLog::default();
        self.health.set_connecting();
        loop {
            tokio::select! {
                opened = Buckets::open(&self.stream, &self.lease_client) => match opened {
                    Ok(buckets) => return Some(buckets),
                    Err(error) => wait_log.log(&error),
                },
                () = self.shutdown.cancelled() => return None,
            }
            if self.is_shut_down_before_retry(RETRY_DELAY).await {
                return None;
            }
        }
    }

    /// Waits for `delay`. Returns true if the process shuts down first.
    pub(super) async fn is_shut_down_before_retry(&self, delay: Duration) -> bool {
        tokio::select! {
            () = self.shutdown.cancelled() => true,
            () = tokio::time::sleep(delay) => false,
        }
    }

    /// Follows until this controller has acquired the lease, then leads until its term ends.
    /// Returns earlier if the process shuts down or the journal cannot be read.
    async fn follow_then_lead(
        &self,
        mut follower: Follower,
        buckets: &Buckets,
        differences: &[ReplicaDifference],
    ) -> anyhow::Result<Next> {
        let (stop, stopped) = mpsc::sync_channel(0);
        let stats = self.metrics.stats().clone();
        let mut following = spawn_blocking(move || {
            let ended = follower.follow(&stopped, &stats);
            ended.map(|()| follower)
        });
        let lease = tokio::select! {
            lease = self.acquire_lease(&buckets.leases) => Some(lease),
            () = self.shutdown.cancelled() => None,
            ended = &mut following => {
                let Err(error) = ended.context("following the journal panicked")? else {
                    return Ok(Next::Reload);
                };
                return reload_after(error);
            }
        };
        drop(stop);
        let follower = following.await.context("following the journal panicked")?;
        let Some(lease) = lease else {
            return Ok(Next::Stop);
        };
        let catching_up = follower.map(|mut follower| {
            spawn_blocking(move || {
                let caught_up = follower.catch_up();
                caught_up.map(|()| follower)
            })
        });
        let caught_up = match catching_up {
            Ok(catching_up) => catching_up.await.context("catching up panicked")?,
            Err(error) => Err(error),
        };
        match caught_up {
            Ok(follower) => Box::pin(self.lead(follower, lease, buckets, differences)).await,
            Err(error) => {
                lease.release().await;
                reload_after(error)
            }
        }
    }

    /// Waits until the lease is free, and acquires it.
    async fn acquire_lease(&self, leases: &LeaseBucket) -> Lease {
        let partition = self.stream.assignment.partition;
        let (key, halted_key) = (
            subjects::lease_key(partition),
            subjects::halted_key(partition),
        );
        let mut wait_log = WaitLog::default();
        loop {
            if self.rebalancer.should_defer() && leases.is_free(&key).await {
                tokio::time::sleep(DEFER_DELAY).await;
            }
            match leases.try_acquire(&key).await {
                Ok(Some(lease)) => match leases.is_marked(&halted_key).await {
                    Ok(false) => return lease,
                    Ok(true) => {
                        wait_log.log(&"another controller has halted, because it has changes that the journal lacks; see its log and `scuttle doctor` for what to do");
                        lease.release().await;
                    }
                    Err(error) => {
                        wait_log.log(&error);
                        lease.release().await;
                    }
                },
                Ok(None) => {}
                Err(error) => {
                    wait_log.log(&error);
                    // The bucket may have been deleted.
                    if let Err(error) = leases.create_if_missing().await {
                        wait_log.log(&error);
                    }
                }
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Leads until the lease is lost, this controller leads too many partitions, or the leader
    /// stops, for example because the process shuts down. Then releases the lease.
    async fn lead(
        &self,
        mut follower: Follower,
        mut lease: Lease,
        buckets: &Buckets,
        differences: &[ReplicaDifference],
    ) -> anyhow::Result<Next> {
        if follower.state.record().is_none() {
            match self.propose_record(buckets).await {
                Ok(record) => drop(follower.state.ensure_record(record)),
                Err(error) => {
                    warn!("cannot read the record's identity: {}", error.message);
                    lease.release().await;
                    tokio::time::sleep(RETRY_DELAY).await;
                    return Ok(Next::Reload);
                }
            }
        }
        info!("became leader");
        let assignment = self.stream.assignment;
        self.rebalancer.set_leading(assignment.partition);
        let (term, step_down) = Term::start(self.shutdown.clone());
        let (rows, guard) = (follower.store.snapshots(), lease.guard());
        let trimming = buckets
            .snapshots
            .trim_while_leading(self.data_dir, rows, guard);
        let leader = LeaderContext {
            client: self.stream.client.clone(),
            access: self.access,
            connected: self.connected.clone(),
            audit: self.audit,
            metrics: self.metrics,
            health: self.health,
            lease: lease.guard(),
            term: term.clone(),
            step_down: step_down.clone(),
            assignment,
            names: buckets.names.clone(),
            own: Instance::new(follower.state.record(), RecordStore::JetStream),
            presence: None,
            metadata: {
                let mut metadata = self.metadata.clone();
                metadata.extend(discovery::replicas_metadata(differences));
                metadata
            },
        };
        let leading = leader.run(follower.state, follower.store);
        tokio::pin!(leading);
        let trimming = tokio::spawn(trimming);
        let names = buckets.names.clone();
        let filling = tokio::spawn(async move {
            if let Some(names) = names {
                names.keep_filled(assignment.partition).await;
            }
        });
        let ended = tokio::select! {
            ended = &mut leading => Some(ended),
            () = lease.keep_renewing() => None,
            () = self.rebalancer.leads_too_many(assignment.partition) => {
                info!("stepping down: another controller leads fewer partitions");
                None
            }
        };
        let ended = if let Some(ended) = ended {
            ended
        } else {
            step_down.request(StopReason::SteppedDown);
            leading.await
        };
        // The task must drop the rows before they can be opened again.
        filling.abort();
        trimming.abort();
        let _ = trimming.await;
        lease.release().await;
        ended?;
        Ok(match term.stop_reason() {
            Some(StopReason::SteppedDown) => Next::Reload,
            _ => Next::Stop,
        })
    }
}

/// Returns [`Next::Reload`] for a journal error that reading the record again might resolve.
///
/// # Errors
/// If only an operator can resolve the error.
fn reload_after(error: StoreError) -> anyhow::Result<Next> {
    match error {
        StoreError::Journal(error) if !error.needs_operator() => {
            warn!("{error}");
            Ok(Next::Reload)
        }
        error => Err(error.into()),
    }
}
