//! One controller of several: it follows the one that leads, and leads when that is gone. What keeps two from leading is the
//! journal itself (`store::replicated`); the lease says which of them should try.

use std::fmt::Display;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::Context;
use async_nats::Client;
use scuttle_schemas::subjects;
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;
use tracing::{info, warn};

use crate::leadership::follower::Follower;
use crate::leadership::leader::LeaderContext;
use crate::leadership::lease::{Lease, LeaseBucket};
use crate::leadership::rebalance::Rebalancer;
use crate::leadership::term::{Shutdown, StopReason, Term};
use crate::nats::connection::Connected;
use crate::observability::audit::Audit;
use crate::observability::health::Health;
use crate::observability::metrics::Metrics;
use crate::ops::backup::BackupServer;
use crate::partition::name_registry::Names;
use crate::store::snapshot_exchange::SnapshotExchange;
use crate::store::{JournalError, JournalStream, ReplicatedStore, StoreError};

/// How long a lease lasts without being renewed. A leader that dies is missed for about so long; one whose servers
/// need longer for an answer leads no more.
pub const LEASE_TTL: Duration = Duration::from_secs(2);

/// How often a lease is asked for: an eighth of its time is added to a take-over at the most.
const POLL: Duration = Duration::from_millis(250);

/// How long who leads more than another leaves it what nobody leads: until that one has surely tried.
const DEFERRED: Duration = Duration::from_millis(600);

/// How long to wait when the servers do not do what is asked of them.
const PAUSE: Duration = Duration::from_millis(500);

/// What a replica works with.
#[derive(Debug)]
pub struct Candidate<'a> {
    /// Where its rows are.
    pub data_dir: &'a Path,
    /// The stream that all share.
    pub stream: JournalStream,
    /// The servers once more, for the lease: it is renewed however much is written to the stream.
    pub beside: Client,
    /// Who leads how many partitions.
    pub balance: Rebalancer,
    /// Whether the servers are there.
    pub connected: Connected,
    /// Where changes are written down.
    pub audit: &'a Audit,
    /// What is counted.
    pub metrics: &'a Metrics,
    /// What it is at.
    pub health: &'a Health,
    /// When to stop.
    pub shutdown: Shutdown,
}

/// What the controllers share beside the stream.
struct Opened {
    leases: LeaseBucket,
    peers: SnapshotExchange,
    /// Where there are several partitions.
    names: Option<Names>,
}

/// Says why it waits, once for each reason.
#[derive(Default)]
struct Waiting(String);

impl Waiting {
    fn on(&mut self, reason: &dyn Display) {
        let reason = reason.to_string();
        if self.0 != reason {
            warn!("{reason}");
            self.0 = reason;
        }
    }
}

impl Candidate<'_> {
    /// Follows and leads in turn, until the shutdown begins, or the NATS client ends by itself.
    ///
    /// # Errors
    /// The rows cannot be read or written, or are another journal's; the journal holds what it should not.
    pub async fn run(mut self) -> anyhow::Result<()> {
        let Some(opened) = self.open().await else {
            return Ok(());
        };
        while !self.shutdown.has_begun() {
            self.health.set_loading();
            let partition = self.stream.assignment.partition;
            self.balance.loads(partition);
            let Some(follower) = self.load(&opened.peers).await? else {
                return Ok(());
            };
            let (hosts, shards, open) = follower.state.row_counts();
            info!("following: {hosts} hosts, {shards} shards, {open} open operations");
            self.health.set_following(self.connected.clone());
            self.balance.follows(partition);
            let snapshots = follower.store.snapshots();
            let snapshots = snapshots.with_journal(Handle::current(), self.stream.clone());
            let backups = BackupServer::start(self.data_dir, snapshots);
            let ended = Box::pin(self.follow(follower, &opened)).await;
            backups.stop().await;
            if !ended? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Opens the buckets; none if the shutdown comes first.
    async fn open(&mut self) -> Option<Opened> {
        let mut waiting = Waiting::default();
        self.health.set_connecting();
        let (stream, beside) = (self.stream.clone(), self.beside.clone());
        let (replicas, assignment) = (stream.replicas, stream.assignment);
        loop {
            let opened = async {
                let bucket = subjects::LEASES_BUCKET;
                let leases = LeaseBucket::open(beside.clone(), bucket, replicas, LEASE_TTL).await?;
                let peers =
                    SnapshotExchange::open(stream.clone(), subjects::SNAPSHOTS_BUCKET).await?;
                let names = if assignment.is_one_of_several() {
                    Some(Names::open(stream.client.clone(), replicas, assignment.of).await?)
                } else {
                    None
                };
                anyhow::Ok(Opened {
                    leases,
                    peers,
                    names,
                })
            };
            tokio::select! {
                opened = opened => match opened {
                    Ok(opened) => return Some(opened),
                    Err(error) => waiting.on(&error),
                },
                () = self.shutdown.begun() => return None,
            }
            if self.pause().await {
                return None;
            }
        }
    }

    /// Whether the shutdown comes first.
    async fn pause(&mut self) -> bool {
        tokio::select! {
            () = self.shutdown.begun() => true,
            () = tokio::time::sleep(PAUSE) => false,
        }
    }

    /// Reads everything; none if the shutdown comes first.
    async fn load(&mut self, peers: &SnapshotExchange) -> anyhow::Result<Option<Follower>> {
        let mut waiting = Waiting::default();
        loop {
            let (data_dir, stream) = (self.data_dir.to_owned(), self.stream.clone());
            let loading = spawn_blocking(move || {
                let store = ReplicatedStore::open(&data_dir, Handle::current(), stream)?;
                Follower::load(store)
            });
            match loading.await.context("the loading panicked")? {
                Ok(follower) => match had_all(&follower, peers).await {
                    Ok(()) => return Ok(Some(follower)),
                    Err(error) => waiting.on(&error),
                },
                Err(StoreError::Journal(JournalError::Trimmed { .. })) => {
                    let fetched = tokio::select! {
                        fetched = peers.install_newest(self.data_dir) => fetched,
                        () = self.shutdown.begun() => return Ok(None),
                    };
                    if let Err(error) = fetched {
                        waiting.on(&error);
                    }
                }
                Err(StoreError::Journal(error)) if is_operators(&error) => {
                    return Err(error.into());
                }
                Err(StoreError::Journal(error)) => waiting.on(&error),
                Err(error) => return Err(error.into()),
            }
            if self.pause().await {
                return Ok(None);
            }
        }
    }

    /// Follows until it has the lease, then leads until it has not. Whether there is more to do: all must be read anew then.
    async fn follow(&mut self, mut follower: Follower, opened: &Opened) -> anyhow::Result<bool> {
        let (stop, stopped) = mpsc::sync_channel(0);
        let stats = self.metrics.stats().clone();
        let mut following = spawn_blocking(move || {
            let ended = follower.follow(&stopped, &stats);
            ended.map(|()| follower)
        });
        let mut shutdown = self.shutdown.clone();
        let lease = tokio::select! {
            lease = self.take(&opened.leases) => Some(lease),
            () = shutdown.begun() => None,
            ended = &mut following => {
                let Err(error) = ended.context("the following panicked")? else {
                    return Ok(true);
                };
                return again(error);
            }
        };
        drop(stop);
        let follower = following.await.context("the following panicked")?;
        let Some(lease) = lease else { return Ok(false) };
        let caught_up = follower.map(|mut follower| {
            spawn_blocking(move || {
                let caught_up = follower.catch_up();
                caught_up.map(|()| follower)
            })
        });
        let caught_up = match caught_up {
            Ok(catching_up) => catching_up.await.context("the catching up panicked")?,
            Err(error) => Err(error),
        };
        match caught_up {
            Ok(follower) => Box::pin(self.lead(follower, lease, opened)).await,
            Err(error) => {
                lease.release().await;
                again(error)
            }
        }
    }

    /// Takes the lease as soon as nobody has it.
    async fn take(&self, leases: &LeaseBucket) -> Lease {
        let key = subjects::lease_key(self.stream.assignment.partition);
        let mut waiting = Waiting::default();
        loop {
            if self.balance.defers() && leases.is_free(&key).await {
                tokio::time::sleep(DEFERRED).await;
            }
            match leases.take(&key).await {
                Ok(Some(lease)) => return lease,
                Ok(None) => {}
                Err(error) => waiting.on(&error),
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Leads as long as it has the lease; whether there is more to do.
    async fn lead(
        &mut self,
        follower: Follower,
        mut lease: Lease,
        opened: &Opened,
    ) -> anyhow::Result<bool> {
        info!("it leads from now on");
        let assignment = self.stream.assignment;
        self.balance.leads(assignment.partition);
        let (term, depose) = Term::until(self.shutdown.clone());
        let (rows, held) = (follower.store.snapshots(), lease.guard());
        let trimming = opened.peers.trim_while_leading(self.data_dir, rows, held);
        let led = LeaderContext {
            client: self.stream.client.clone(),
            connected: self.connected.clone(),
            audit: self.audit,
            metrics: self.metrics,
            health: self.health,
            lease: lease.guard(),
            term: term.clone(),
            depose: depose.clone(),
            assignment,
            names: opened.names.clone(),
        };
        let leading = led.lead(follower.state, follower.store);
        tokio::pin!(leading);
        let trimming = tokio::spawn(trimming);
        let ended = tokio::select! {
            ended = &mut leading => Some(ended),
            () = lease.keep() => None,
            () = self.balance.is_too_many(assignment.partition) => {
                info!("another controller leads fewer partitions: this one is left to it");
                None
            }
        };
        let ended = if let Some(ended) = ended {
            ended
        } else {
            depose.now();
            leading.await
        };
        // It lets go of the rows.
        trimming.abort();
        let _ = trimming.await;
        lease.release().await;
        ended?;
        Ok(term.end() == Some(StopReason::SteppedDown))
    }
}

/// Refuses a journal that was lost, which a controller without rows would else take for a new one.
async fn had_all(follower: &Follower, peers: &SnapshotExchange) -> anyhow::Result<()> {
    let newest = peers.newest_sequence().await?.unwrap_or(0);
    Ok(follower.store.require_message(newest)?)
}

/// Whether an operator is to see to it: reading it anew does not help.
fn is_operators(error: &JournalError) -> bool {
    matches!(
        error,
        JournalError::Foreign { .. } | JournalError::PartitionCountMismatch { .. }
    )
}

/// What the journal has done can be read anew; anything else is the operator's.
fn again(error: StoreError) -> anyhow::Result<bool> {
    match error {
        StoreError::Journal(error) if !is_operators(&error) => {
            warn!("{error}");
            Ok(true)
        }
        error => Err(error.into()),
    }
}
