//! `recover`: replaces a journal that lacks accepted changes with the newest rows that are left, on
//! the order of an operator. All controllers must be stopped.

pub mod error;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use async_nats::Client;
use scuttle_nats::ConnectConfig;
use scuttle_schemas::{Partition, PartitionCount, Timestamp, subjects};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::clock;
use crate::leadership::lease::{LEASE_TTL, Lease, LeaseBucket, LeaseGuard};
use crate::nats::connection;
use crate::ops::backup::Interrupt;
use crate::ops::confirm::confirm;
use crate::ops::recover::error::RecoverError;
use crate::partition::assignment::PartitionAssignment;
use crate::store::format_version::StreamPosition;
use crate::store::replicated::jetstream::StreamJournal;
use crate::store::replicated::rows::install_rows;
use crate::store::replicated::shared_journal::{SharedJournal, SnapshotInfo};
use crate::store::snapshot_exchange::SnapshotExchange;
use crate::store::{
    FILE_NAME, FullExport, JournalError, JournalStream, ReplicatedStore, Snapshot, Store,
    StoreError,
};

/// The maximum time to wait until the lease of a controller that was just stopped expires.
const LEASE_TIMEOUT: Duration = Duration::from_secs(6);

/// The delay before a lease that is held is requested again.
const LEASE_RETRY_DELAY: Duration = Duration::from_millis(250);

/// The settings of a recovery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    pub nats: ConnectConfig,
    pub data_dir: PathBuf,
    /// The number of NATS servers that keep a copy of each new stream and bucket.
    pub replicas: usize,
    pub partitions: PartitionCount,
    /// Whether to recover without asking.
    pub yes: bool,
}

/// The summary of a recovery.
#[derive(Debug)]
pub struct Recovered {
    partitions: Vec<RecoveredPartition>,
}

#[derive(Debug)]
struct RecoveredPartition {
    partition: Partition,
    source: Source,
    rows: usize,
}

/// The rows that replace a partition's journal.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    /// The rows in this data directory.
    Rows { directory: PathBuf, sequence: u64 },
    /// The newest snapshot on the NATS servers.
    Snapshot { sequence: u64 },
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rows {
                directory,
                sequence,
            } => write!(
                f,
                "the rows in {}, which end with message {sequence}",
                directory.display()
            ),
            Self::Snapshot { sequence } => {
                write!(f, "the newest snapshot, which ends with message {sequence}")
            }
        }
    }
}

impl fmt::Display for Recovered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for recovered in &self.partitions {
            let RecoveredPartition {
                partition,
                source,
                rows,
            } = recovered;
            writeln!(
                f,
                "partition {partition}: recovered {rows} rows from {source}"
            )?;
        }
        write!(
            f,
            "start the controllers: this one with its data directory, and the others with empty ones"
        )
    }
}

/// A partition whose journal lacks accepted changes.
struct Damage {
    stream: JournalStream,
    error: JournalError,
    source: Source,
    exchange: SnapshotExchange,
    newest: Option<SnapshotInfo>,
}

impl Recovery {
    /// Recovers every partition whose journal lacks accepted changes. Blocks, so it must not be
    /// called on a thread of the async runtime.
    ///
    /// All revisions are raised, so that subscribers list the swarm again. If this fails or is
    /// killed after it was confirmed, the controllers halt again, and it can be repeated.
    ///
    /// # Errors
    /// - If a controller is running, or all journals are complete.
    /// - If neither rows nor a snapshot are left, or the operator does not confirm.
    /// - If the servers or the disk fail.
    pub fn run(&self, interrupt: &Interrupt) -> Result<Recovered, RecoverError> {
        let runtime = Handle::current();
        let connected = runtime.block_on(connection::connect_once(&self.nats));
        let client = connected.map_err(RecoverError::Connect)?;
        let mut keeping = JoinSet::new();
        let held = self.hold_leases(&runtime, &client, &mut keeping)?;
        let mut damages = Vec::new();
        for partition in self.partitions.iter() {
            let assignment = PartitionAssignment {
                partition,
                partitions: self.partitions,
            };
            let stream = JournalStream::new(client.clone(), self.replicas, assignment);
            damages.extend(self.find_damage(&runtime, stream)?);
        }
        if damages.is_empty() {
            return Err(RecoverError::NothingToDo);
        }
        if !self.yes {
            confirm_recovery(&damages, interrupt)?;
        }
        if !held.iter().all(LeaseGuard::is_valid) {
            return Err(RecoverError::ControllerActive);
        }
        let now = clock::now();
        let recovered = damages
            .into_iter()
            .map(|damage| self.recover(&runtime, damage, now));
        Ok(Recovered {
            partitions: recovered.collect::<Result<_, _>>()?,
        })
    }

    /// Holds the lease of every partition, so that no controller leads during the recovery.
    fn hold_leases(
        &self,
        runtime: &Handle,
        client: &Client,
        keeping: &mut JoinSet<()>,
    ) -> Result<Vec<LeaseGuard>, RecoverError> {
        let (bucket, client) = (subjects::LEASES_BUCKET, client.clone());
        let leases =
            runtime.block_on(LeaseBucket::open(client, bucket, self.replicas, LEASE_TTL))?;
        let mut held = Vec::new();
        for partition in self.partitions.iter() {
            let mut lease = acquire(runtime, &leases, partition)?;
            held.push(lease.guard());
            keeping.spawn_on(async move { lease.keep_renewing().await }, runtime);
        }
        Ok(held)
    }

    fn directory(&self, stream: &JournalStream) -> PathBuf {
        stream.assignment.data_dir(&self.data_dir)
    }

    /// Returns the damage of a partition's journal, or `None` if the journal is complete.
    fn find_damage(
        &self,
        runtime: &Handle,
        stream: JournalStream,
    ) -> Result<Option<Damage>, RecoverError> {
        let directory = self.directory(&stream);
        let exchange = runtime.block_on(SnapshotExchange::open(stream.clone()))?;
        let newest = runtime.block_on(exchange.newest())?;
        if !directory.join(FILE_NAME).exists() {
            if newest.is_none() {
                return Err(RecoverError::NoSource(directory));
            }
            runtime.block_on(exchange.install_newest(&directory))?;
        }
        let opened = ReplicatedStore::open(&directory, runtime.clone(), stream.clone());
        let loaded = opened.and_then(|mut store| store.load(&mut |_| Ok(())));
        let error = match loaded {
            // A controller whose rows end before a trimmed message downloads the snapshot.
            Ok(()) | Err(StoreError::Journal(JournalError::Trimmed { .. })) => return Ok(None),
            Err(StoreError::Journal(error))
                if error.is_loss() || matches!(error, JournalError::Damaged { .. }) =>
            {
                error
            }
            Err(error) => return Err(error.into()),
        };
        let rows = Snapshot::open_file(&directory.join(FILE_NAME))?;
        let sequence = rows.stream_position()?.map_or(0, |at| at.sequence);
        let recovered_at = rows.known_stream()?.map_or(0, |known| known.recovered_at);
        let newer = newest
            .filter(|newest| newest.recovered_at == recovered_at && newest.sequence > sequence);
        let source = match newer {
            Some(SnapshotInfo { sequence, .. }) => Source::Snapshot { sequence },
            None => Source::Rows {
                directory,
                sequence,
            },
        };
        Ok(Some(Damage {
            stream,
            error,
            source,
            exchange,
            newest,
        }))
    }

    /// Replaces the journal of one partition. The order of the steps matters: after a crash between
    /// two of them, the journal still lacks accepted changes, so no controller serves.
    fn recover(
        &self,
        runtime: &Handle,
        damage: Damage,
        now: Timestamp,
    ) -> Result<RecoveredPartition, RecoverError> {
        let Damage {
            stream,
            source,
            exchange,
            newest,
            ..
        } = damage;
        let directory = self.directory(&stream);
        if matches!(source, Source::Snapshot { .. }) {
            runtime.block_on(exchange.install_newest(&directory))?;
        }
        let file = directory.join(FILE_NAME);
        let rows = Snapshot::open_file(&file)?;
        let contained = rows.stream_position()?.map_or(0, |at| at.sequence);
        let record = FullExport::read(&rows)?.raise_revisions(now);
        drop(rows);

        let existing = match StreamJournal::open_existing(runtime.clone(), stream.clone()) {
            Err(JournalError::Missing { .. }) => None,
            opened => Some(opened?),
        };
        let base = match existing {
            // The sequences continue after those of the lost stream.
            None => contained.max(newest.map_or(0, |newest| newest.sequence)) + 1,
            Some(mut journal) => clear(&mut journal)?,
        };
        let position = StreamPosition {
            stream: stream.name.clone(),
            sequence: base,
        };
        let staged = record.write(&file, Some((&position, None)))?;
        check_written(&record, staged.path())?;
        let info = SnapshotInfo {
            sequence: base,
            recovered_at: u64::try_from(now.as_millis()).unwrap_or(1),
        };
        runtime.block_on(exchange.upload(staged.path(), info))?;
        runtime.block_on(exchange.delete_others(base))?;
        StreamJournal::open_after(runtime.clone(), stream.clone(), base)?;
        install_rows(staged, &directory, &stream.name)?;
        Ok(RecoveredPartition {
            partition: stream.assignment.partition,
            source,
            rows: record.row_count(),
        })
    }
}

/// Removes all messages of a journal, and returns the sequence after which it continues. A message
/// is added first, so that the journal has grown beyond the rows of every controller.
fn clear(journal: &mut StreamJournal) -> Result<u64, RecoverError> {
    /// The encoding of a batch without changes.
    const EMPTY_BATCH: &[u8] = &[0];
    let last = journal.state()?.last;
    let base = journal.append(last, EMPTY_BATCH)?;
    journal.purge()?;
    Ok(base)
}

fn check_written(record: &FullExport, path: &Path) -> Result<(), RecoverError> {
    let written = FullExport::read(&Snapshot::open_file(path)?)?;
    match record.find_difference(&written) {
        None => Ok(()),
        Some(row) => Err(RecoverError::RowDiffers(row)),
    }
}

/// Acquires the lease of a partition. Waits until the lease or the mark of a controller that was
/// just stopped expires.
fn acquire(
    runtime: &Handle,
    leases: &LeaseBucket,
    partition: Partition,
) -> Result<Lease, RecoverError> {
    let started = Instant::now();
    while started.elapsed() < LEASE_TIMEOUT {
        let is_halted = runtime.block_on(leases.is_marked(&subjects::halted_key(partition)))?;
        let key = subjects::lease_key(partition);
        if !is_halted && let Some(lease) = runtime.block_on(leases.try_acquire(&key))? {
            return Ok(lease);
        }
        runtime.block_on(tokio::time::sleep(LEASE_RETRY_DELAY));
    }
    Err(RecoverError::ControllerActive)
}

/// Asks the operator whether to recover.
fn confirm_recovery(damages: &[Damage], interrupt: &Interrupt) -> Result<(), RecoverError> {
    let describe = |damage: &Damage| {
        let (partition, error) = (damage.stream.assignment.partition, &damage.error);
        let source = &damage.source;
        format!("partition {partition}: {error}\n  to recover from: {source}\n")
    };
    let mut question: String = damages.iter().map(describe).collect();
    question += "Everything in the journal is replaced. Whatever was accepted after that message is lost.\n\
        Run this command on the controller with the newest rows. Recover? [yes/no] ";
    if confirm(&question, interrupt).map_err(RecoverError::CannotAsk)? {
        Ok(())
    } else {
        Err(RecoverError::NotConfirmed)
    }
}
