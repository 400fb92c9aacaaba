//! `migrate --to KIND`: moves the record of a stopped service from one kind of store to the other.
//! Every written row is compared with the source before the new store is put in place.

pub mod error;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream;
use futures_util::{StreamExt, stream};
use scuttle_nats::ConnectConfig;
use scuttle_schemas::{PartitionCount, subjects};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::config::options::StoreKind;
use crate::leadership::lease::{LEASE_TTL, LeaseBucket, LeaseGuard};
use crate::nats::connection;
use crate::nats::stream_lookup::find_stream;
use crate::ops::leftovers::left_behind::LeftBehind;
use crate::ops::leftovers::list_streams;
use crate::ops::migrate::error::MigrateError;
use crate::partition::assignment::PartitionAssignment;
use crate::partition::name_registry;
use crate::store::format_version::StreamPosition;
use crate::store::replicated::jetstream::StreamJournal;
use crate::store::replicated::rows::install_rows;
use crate::store::replicated::shared_journal::SnapshotInfo;
use crate::store::snapshot_exchange::SnapshotExchange;
use crate::store::{
    FILE_NAME, FullExport, JournalError, JournalStream, ReplicatedStore, Snapshot, StagedFile,
    StoreError, create_dir,
};

/// The stream sequence that is recorded for the migrated rows. No message has this sequence,
/// because the new stream starts after it. To a controller without rows, the journal therefore
/// looks trimmed, and the controller downloads the snapshot.
const BASE_SEQUENCE: u64 = 1;

/// The maximum number of host names that are claimed concurrently.
const MAX_CONCURRENT_CLAIMS: usize = 64;

/// The timeout for looking up a stream on the NATS servers.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The settings of a migration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    pub nats: ConnectConfig,
    pub data_dir: PathBuf,
    /// The number of NATS servers that keep a copy of each new stream and bucket.
    pub replicas: usize,
    /// The number of partitions of the record on the NATS servers.
    pub partitions: PartitionCount,
    /// The kind of the new store.
    pub to: StoreKind,
}

/// The summary of a migration.
#[derive(Debug)]
pub struct Migrated {
    store: PathBuf,
    rows: usize,
    to: StoreKind,
    partitions: PartitionCount,
}

impl fmt::Display for Migrated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            store,
            rows,
            to,
            partitions,
        } = self;
        let store = store.display();
        let several = *partitions != PartitionCount::ONE;
        let option = if several {
            format!(" --partitions {partitions}")
        } else {
            String::new()
        };
        match to {
            StoreKind::JetStream => write!(
                f,
                "migrated {rows} rows and compared each: they are in {store} and in the object store {}. Start the controllers with --store jetstream{option}, this one with its data directory and the others with empty ones. Nothing was left behind",
                subjects::SNAPSHOTS_BUCKET
            ),
            StoreKind::Redb => {
                let streams = partitions.iter().map(subjects::journal_stream_name);
                let streams = match &streams.collect::<Vec<_>>()[..] {
                    [stream] => format!("The stream {stream}"),
                    streams => format!("The streams {}", streams.join(", ")),
                };
                write!(
                    f,
                    "migrated {rows} rows and compared each: they are in {store}. Start only this controller, without --store. {streams} and the buckets were left in place; when this controller works, remove them with `scuttle-controller remove-leftovers`"
                )
            }
        }
    }
}

impl Migration {
    /// Migrates the record. Blocks, so it must not be called on a thread of the async runtime.
    ///
    /// The source keeps the complete record until the new store is in place. After a failure before
    /// that point, the migration can be repeated.
    ///
    /// # Errors
    /// - If a controller is running.
    /// - If there is nothing to migrate, or the NATS servers already have a record.
    /// - If an open operation could not be cancelled after the migration.
    /// - If the servers or the disk fail.
    pub fn run(&self) -> Result<Migrated, MigrateError> {
        let runtime = Handle::current();
        let connected = runtime.block_on(connection::connect_once(&self.nats));
        let client = connected.map_err(MigrateError::Connect)?;
        let rows = match self.to {
            StoreKind::JetStream => self.to_jetstream(&runtime, client),
            StoreKind::Redb => self.to_redb(&runtime, client),
        }?;
        Ok(Migrated {
            store: match self.to {
                StoreKind::JetStream => self.data_dir.clone(),
                StoreKind::Redb => self.store_path(),
            },
            rows,
            to: self.to,
            partitions: self.partitions,
        })
    }

    fn store_path(&self) -> PathBuf {
        self.data_dir.join(FILE_NAME)
    }

    /// Returns the journal stream of each partition, whether or not the stream exists.
    fn streams(&self, client: &Client) -> Vec<JournalStream> {
        let of = self.partitions;
        let assignments = of.iter().map(|partition| PartitionAssignment {
            partition,
            partitions: of,
        });
        assignments
            .map(|assignment| JournalStream::new(client.clone(), self.replicas, assignment))
            .collect()
    }

    fn to_jetstream(&self, runtime: &Handle, client: Client) -> Result<usize, MigrateError> {
        let source = Snapshot::open_file(&self.store_path())?;
        if source.stream()?.is_some() {
            return Err(MigrateError::AlreadyMigrated(self.store_path()));
        }
        let record = FullExport::read(&source)?;
        drop(source);
        if let Some(operation) = record.find_misplaced_operation(self.partitions) {
            return Err(MigrateError::MisplacedOperation(operation));
        }
        let streams = self.streams(&client);
        for stream in &streams {
            if runtime.block_on(stream_exists(stream))? {
                return Err(MigrateError::StreamExists(stream.name.clone()));
            }
        }
        let mut staged_files = Vec::new();
        for stream in &streams {
            staged_files.push(self.upload_partition(runtime, &record, stream)?);
        }
        if self.partitions != PartitionCount::ONE {
            runtime.block_on(self.claim_names(client, &record))?;
        }
        // Creating the streams publishes the record: from here on, a starting controller uses it.
        for stream in &streams {
            StreamJournal::open_after(runtime.clone(), stream.clone(), BASE_SEQUENCE)
                .map_err(StoreError::from)?;
        }
        for (stream, staged) in streams.iter().zip(staged_files) {
            let directory = stream.assignment.data_dir(&self.data_dir);
            install_rows(staged, &directory, &stream.name)?;
        }
        if self.partitions != PartitionCount::ONE {
            remove(&self.store_path())?;
        }
        LeftBehind::remove(&self.data_dir)?;
        Ok(record.row_count())
    }

    /// Uploads the snapshot of one partition, verifies the upload, and returns the partition's rows
    /// as a staged file.
    fn upload_partition(
        &self,
        runtime: &Handle,
        record: &FullExport,
        stream: &JournalStream,
    ) -> Result<StagedFile, MigrateError> {
        let rows = record.select_partition(stream.assignment);
        let directory = stream.assignment.data_dir(&self.data_dir);
        create_dir(&directory)?;
        let exchange = SnapshotExchange::open(stream.clone());
        let exchange = runtime.block_on(exchange)?;
        // A snapshot of an earlier attempt is overwritten, but controllers would prefer a newer
        // one.
        let newest = runtime.block_on(exchange.newest())?;
        if newest.is_some_and(|newest| newest.sequence > BASE_SEQUENCE) {
            return Err(MigrateError::SnapshotsExist);
        }
        let position = StreamPosition {
            stream: stream.name.clone(),
            sequence: BASE_SEQUENCE,
        };
        let staged = rows.write(&directory.join(FILE_NAME), Some((&position, None)))?;
        compare(&rows, staged.path())?;
        let info = SnapshotInfo {
            sequence: BASE_SEQUENCE,
            recovered_at: 0,
        };
        runtime.block_on(exchange.upload(staged.path(), info))?;
        let (downloaded, file) = StagedFile::create_in(&directory)?;
        runtime.block_on(exchange.download_newest(&downloaded, file))?;
        compare(&rows, downloaded.path())?;
        Ok(staged)
    }

    /// Assigns the name and id of every active host to that host in the name registry, even if
    /// another host has claimed them.
    async fn claim_names(&self, client: Client, record: &FullExport) -> Result<(), MigrateError> {
        let failed = |cause: String| MigrateError::Names(cause);
        let bucket = name_registry::open_bucket(client, self.replicas).await;
        let bucket = bucket.map_err(|error| failed(error.to_string()))?;
        let identities = record.active_hosts();
        let keys =
            identities.flat_map(|host| host.keys().into_iter().map(move |key| (key, host.id)));
        let claims = keys.map(|(key, host)| {
            let (bucket, key) = (&bucket, name_registry::bucket_key(&key));
            async move { bucket.put(key, host.to_string().into()).await }
        });
        let mut claimed = stream::iter(claims).buffer_unordered(MAX_CONCURRENT_CLAIMS);
        while let Some(claim) = claimed.next().await {
            claim.map_err(|error| failed(error.to_string()))?;
        }
        Ok(())
    }

    fn to_redb(&self, runtime: &Handle, client: Client) -> Result<usize, MigrateError> {
        let streams = self.streams(&client);
        for stream in &streams {
            if !runtime.block_on(stream_exists(stream))? {
                return Err(MigrateError::NoStream(stream.name.clone()));
            }
        }
        let bucket = subjects::LEASES_BUCKET;
        let leases = runtime.block_on(LeaseBucket::open(
            client.clone(),
            bucket,
            self.replicas,
            LEASE_TTL,
        ))?;
        // Hold the leases so that no controller becomes the leader during the migration.
        let (mut held, mut keeping) = (Vec::new(), JoinSet::new());
        for stream in &streams {
            let key = subjects::lease_key(stream.assignment.partition);
            let lease = runtime.block_on(leases.try_acquire(&key))?;
            let mut lease = lease.ok_or(MigrateError::LeaderActive)?;
            held.push(lease.guard());
            let keep = async move { lease.keep_renewing().await };
            keeping.spawn_on(keep, runtime);
        }
        let exports = streams
            .iter()
            .map(|stream| self.read_stream(runtime, stream));
        let record = FullExport::merge(exports.collect::<Result<_, _>>()?);
        let staged = record.write(&self.store_path(), None)?;
        compare(&record, staged.path())?;
        if !held.iter().all(LeaseGuard::is_valid) {
            return Err(MigrateError::LeaderActive);
        }
        let left_behind = runtime.block_on(list_streams(client, self.partitions))?;
        staged.replace(&self.store_path())?;
        // The list comes after the record, because `remove-leftovers` deletes what is listed. If
        // the process is killed in between, the streams stay.
        left_behind.write(&self.data_dir)?;
        if self.partitions != PartitionCount::ONE {
            for stream in &streams {
                remove(&stream.assignment.data_dir(&self.data_dir).join(FILE_NAME))?;
            }
        }
        Ok(record.row_count())
    }

    /// Reads the complete record of one partition from its rows and its stream.
    fn read_stream(
        &self,
        runtime: &Handle,
        stream: &JournalStream,
    ) -> Result<FullExport, MigrateError> {
        let directory = stream.assignment.data_dir(&self.data_dir);
        let take = || {
            let store = ReplicatedStore::open(&directory, runtime.clone(), stream.clone())?;
            let snapshots = store.snapshots();
            snapshots
                .with_journal(runtime.clone(), stream.clone())
                .take()
                .and_then(|all| FullExport::read(&all))
        };
        Ok(match take() {
            Err(StoreError::Journal(JournalError::Trimmed { .. })) => {
                let exchange = SnapshotExchange::open(stream.clone());
                let exchange = runtime.block_on(exchange)?;
                runtime.block_on(exchange.install_newest(&directory))?;
                take()?
            }
            export => export?,
        })
    }
}

/// Removes a store after its rows have been moved to other files.
fn remove(store: &Path) -> Result<(), StoreError> {
    fs::remove_file(store).map_err(|cause| StoreError::io("remove", store, cause))
}

/// Returns an error unless the file contains exactly the expected rows.
fn compare(expected: &FullExport, file: &Path) -> Result<(), MigrateError> {
    let written = FullExport::read(&Snapshot::open_file(file)?)?;
    match expected.find_difference(&written) {
        None => Ok(()),
        Some(row) => Err(MigrateError::RowDiffers(row)),
    }
}

async fn stream_exists(stream: &JournalStream) -> Result<bool, MigrateError> {
    let mut context = jetstream::new(stream.client.clone());
    context.set_timeout(REQUEST_TIMEOUT);
    let found = find_stream(&context, &stream.name).await;
    found
        .map(|found| found.is_some())
        .map_err(|error| MigrateError::Lookup(stream.name.clone(), error.to_string()))
}
