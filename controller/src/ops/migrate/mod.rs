//! `migrate --to KIND`: the record of a stopped service from a store of one kind into one of the other, compared row by
//! row before anything is put in its place. What the stores are is in `store`; what is absent here is any decision on a row.

mod error;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream;
use async_nats::jetstream::context::GetStreamErrorKind;
use futures_util::{StreamExt, stream};
use scuttle_nats::ConnectConfig;
use scuttle_schemas::{PartitionCount, subjects};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

pub use error::MigrateError;

use crate::config::StoreKind;
use crate::leadership::candidate::LEASE_TTL;
use crate::leadership::lease::{LeaseBucket, LeaseGuard};
use crate::nats::connection;
use crate::partition::assignment::PartitionAssignment;
use crate::partition::name_registry;
use crate::store::snapshot_exchange::SnapshotExchange;
use crate::store::{
    FILE_NAME, FullExport, JetStream, JournalError, ReplicatedStore, Snapshot, StagedFile,
    StoreError, StreamJournal, create_dir, place_rows,
};

/// The message before a stream's first, where the record came from a file: nobody has it, so whoever has no rows looks for the
/// snapshot that contains it.
const BEFORE_THE_FIRST: u64 = 1;

/// How many names are claimed at once.
const CLAIMS: usize = 64;

/// How long the servers may take for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is migrated, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    /// The NATS servers.
    pub access: ConnectConfig,
    /// The controller's data directory.
    pub data_dir: PathBuf,
    /// How many servers keep the journal, if it goes there.
    pub replicas: usize,
    /// How many journals the hosts are divided over, there.
    pub partitions: PartitionCount,
    /// Which kind of store it is to be.
    pub to: StoreKind,
}

/// A record that was migrated.
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
            format!(" --shards-of-control {partitions}")
        } else {
            String::new()
        };
        match to {
            StoreKind::JetStream => write!(
                f,
                "{rows} rows, each compared: {store} has them, and so has the object store {}; start the controllers with --store jetstream{option}, this one with its data directory, others with empty ones",
                subjects::SNAPSHOTS_BUCKET
            ),
            StoreKind::Redb => {
                let streams = partitions.iter().map(subjects::journal_stream_name);
                let streams = streams.collect::<Vec<_>>().join(", ");
                write!(
                    f,
                    "{rows} rows, each compared: {store} has them; start this controller without --store, and no other; as it was, and of no use any more: the stream {streams} and the object store {}; remove them",
                    subjects::SNAPSHOTS_BUCKET
                )
            }
        }
    }
}

impl Migration {
    /// Does it. Blocks, and is not to be called by a thread of the runtime's.
    ///
    /// # Errors
    /// A controller runs, there is nothing to migrate, there is a record already where it would go, or a server or a disk
    /// refuses. Then both are as they were, and it can be done again.
    pub fn run(&self) -> Result<Migrated, MigrateError> {
        let runtime = Handle::current();
        let connected = runtime.block_on(connection::once(&self.access));
        let client = connected.map_err(MigrateError::Connect)?;
        let rows = match self.to {
            StoreKind::JetStream => self.to_jetstream(&runtime, client),
            StoreKind::Redb => self.to_redb(&runtime, client),
        }?;
        Ok(Migrated {
            store: match self.to {
                StoreKind::JetStream => self.data_dir.clone(),
                StoreKind::Redb => self.store(),
            },
            rows,
            to: self.to,
            partitions: self.partitions,
        })
    }

    fn store(&self) -> PathBuf {
        self.data_dir.join(FILE_NAME)
    }

    /// The journals, there.
    fn streams(&self, client: &Client) -> Vec<JetStream> {
        let of = self.partitions;
        let portions = of
            .iter()
            .map(|partition| PartitionAssignment { partition, of });
        portions
            .map(|assignment| JetStream::of(client.clone(), self.replicas, assignment))
            .collect()
    }

    fn to_jetstream(&self, runtime: &Handle, client: Client) -> Result<usize, MigrateError> {
        let source = Snapshot::open_file(&self.store())?;
        if source.stream()?.is_some() {
            return Err(MigrateError::Already(self.store()));
        }
        let whole = FullExport::read(&source)?;
        drop(source);
        if let Some(operation) = whole.misplaced(self.partitions) {
            return Err(MigrateError::Misplaced(operation));
        }
        let streams = self.streams(&client);
        for stream in &streams {
            if runtime.block_on(is_there(stream))? {
                return Err(MigrateError::StreamExists(stream.name.clone()));
            }
        }
        let mut drafts = Vec::new();
        for stream in &streams {
            drafts.push(self.write_portion(runtime, &whole, stream)?);
        }
        if self.partitions != PartitionCount::ONE {
            runtime.block_on(self.claim_names(client, &whole))?;
        }
        // From here on the record is there, and whoever comes finds it.
        for stream in &streams {
            StreamJournal::open_after(runtime.clone(), stream.clone(), BEFORE_THE_FIRST)
                .map_err(StoreError::from)?;
        }
        for (stream, draft) in streams.iter().zip(drafts) {
            let directory = stream.assignment.data_dir(&self.data_dir);
            place_rows(draft, &directory, &stream.name)?;
        }
        if self.partitions != PartitionCount::ONE {
            remove(&self.store())?;
        }
        Ok(whole.rows())
    }

    /// Puts a assignment of the record into the object store, and makes it a draft of the rows here.
    fn write_portion(
        &self,
        runtime: &Handle,
        whole: &FullExport,
        stream: &JetStream,
    ) -> Result<StagedFile, MigrateError> {
        let (assignment, directory) = (
            whole.portion(stream.assignment),
            stream.assignment.data_dir(&self.data_dir),
        );
        create_dir(&directory)?;
        let peers = SnapshotExchange::open(stream.clone(), subjects::SNAPSHOTS_BUCKET);
        let peers = runtime.block_on(peers)?;
        // One that an attempt left behind is written over; a newer one would be taken for the newest.
        if runtime.block_on(peers.newest())? > Some(BEFORE_THE_FIRST) {
            return Err(MigrateError::SnapshotsExist);
        }
        let draft = assignment.write(
            &directory.join(FILE_NAME),
            Some((&stream.name, BEFORE_THE_FIRST)),
        )?;
        compare(&assignment, draft.path())?;
        runtime.block_on(peers.put(draft.path(), BEFORE_THE_FIRST))?;
        let (back, file) = StagedFile::create(&directory)?;
        runtime.block_on(peers.get(&back, file))?;
        compare(&assignment, back.path())?;
        Ok(draft)
    }

    /// Claims each living host's name for it, whoever claimed it before.
    async fn claim_names(&self, client: Client, whole: &FullExport) -> Result<(), MigrateError> {
        let failed = |cause: String| MigrateError::Names(cause);
        let bucket = name_registry::open(client, self.replicas).await;
        let bucket = bucket.map_err(|error| failed(error.to_string()))?;
        let claims = whole.living().map(|(host, name)| {
            let (bucket, key) = (&bucket, name_registry::key(name));
            async move { bucket.put(key, host.to_string().into()).await }
        });
        let mut claimed = stream::iter(claims).buffer_unordered(CLAIMS);
        while let Some(claim) = claimed.next().await {
            claim.map_err(|error| failed(error.to_string()))?;
        }
        Ok(())
    }

    fn to_redb(&self, runtime: &Handle, client: Client) -> Result<usize, MigrateError> {
        let streams = self.streams(&client);
        for stream in &streams {
            if !runtime.block_on(is_there(stream))? {
                return Err(MigrateError::NoStream(stream.name.clone()));
            }
        }
        let bucket = subjects::LEASES_BUCKET;
        let leases =
            runtime.block_on(LeaseBucket::open(client, bucket, self.replicas, LEASE_TTL))?;
        // Nobody is to lead meanwhile.
        let (mut held, mut keeping) = (Vec::new(), JoinSet::new());
        for stream in &streams {
            let key = subjects::lease_key(stream.assignment.partition);
            let lease = runtime.block_on(leases.take(&key))?;
            let mut lease = lease.ok_or(MigrateError::Led)?;
            held.push(lease.guard());
            let keep = async move { lease.keep().await };
            keeping.spawn_on(keep, runtime);
        }
        let portions = streams
            .iter()
            .map(|stream| self.read_stream(runtime, stream));
        let whole = FullExport::together(portions.collect::<Result<_, _>>()?);
        let draft = whole.write(&self.store(), None)?;
        compare(&whole, draft.path())?;
        if !held.iter().all(LeaseGuard::is_valid) {
            return Err(MigrateError::Led);
        }
        draft.replace(&self.store())?;
        if self.partitions != PartitionCount::ONE {
            for stream in &streams {
                remove(&stream.assignment.data_dir(&self.data_dir).join(FILE_NAME))?;
            }
        }
        Ok(whole.rows())
    }

    /// All that the rows and a stream have.
    fn read_stream(
        &self,
        runtime: &Handle,
        stream: &JetStream,
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
                let peers = SnapshotExchange::open(stream.clone(), subjects::SNAPSHOTS_BUCKET);
                let peers = runtime.block_on(peers)?;
                runtime.block_on(peers.fetch(&directory))?;
                take()?
            }
            whole => whole?,
        })
    }
}

/// Removes a store whose rows are elsewhere now; where both are one file, it is replaced.
fn remove(store: &Path) -> Result<(), StoreError> {
    fs::remove_file(store).map_err(|cause| StoreError::io("remove", store, cause))
}

/// Whether a file has exactly these rows.
fn compare(whole: &FullExport, file: &Path) -> Result<(), MigrateError> {
    let written = FullExport::read(&Snapshot::open_file(file)?)?;
    match whole.difference(&written) {
        None => Ok(()),
        Some(row) => Err(MigrateError::Different(row)),
    }
}

/// Whether the servers have the stream.
async fn is_there(stream: &JetStream) -> Result<bool, MigrateError> {
    let mut context = jetstream::new(stream.client.clone());
    context.set_timeout(PATIENCE);
    let name = stream.name.clone();
    match context.get_stream(&name).await {
        Ok(_) => Ok(true),
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(error)
                if error.error_code() == jetstream::ErrorCode::STREAM_NOT_FOUND =>
            {
                Ok(false)
            }
            _ => Err(MigrateError::Look(name, error.to_string())),
        },
    }
}
