//! `migrate --to KIND`: the record of a stopped service from a store of one kind into one of the other, compared row by
//! row before anything is put in its place. What the stores are is in `store`; what is absent here is any decision on a row.

mod error;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream;
use async_nats::jetstream::context::GetStreamErrorKind;
use scuttle_bus::Access;
use scuttle_schemas::subjects;
use tokio::runtime::Handle;

pub use error::MigrateError;

use crate::config::StoreKind;
use crate::connection;
use crate::lease::Leases;
use crate::peers::Peers;
use crate::replica::TTL;
use crate::store::{
    DraftFile, FILE_NAME, JetStream, JetStreamJournal, JournalError, ReplicatedStore, Snapshot,
    StoreError, Whole, place_rows,
};

/// The message before a stream's first, where the record came from a file: nobody has it, so whoever has no rows looks for the
/// snapshot that contains it.
const BEFORE_THE_FIRST: u64 = 1;

/// How long the servers may take for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is migrated, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    /// The NATS servers.
    pub access: Access,
    /// The controller's data directory.
    pub data_dir: PathBuf,
    /// How many servers keep the journal, if it goes there.
    pub replicas: usize,
    /// Which kind of store it is to be.
    pub to: StoreKind,
}

/// A record that was migrated.
#[derive(Debug)]
pub struct Migrated {
    store: PathBuf,
    rows: usize,
    to: StoreKind,
}

impl fmt::Display for Migrated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { store, rows, to } = self;
        let store = store.display();
        let stream = subjects::JOURNAL_STREAM;
        match to {
            StoreKind::JetStream => write!(
                f,
                "{rows} rows, each compared: {store} has them, and so has the object store {}; start the controllers with --store jetstream, this one with its data directory, others with empty ones",
                subjects::SNAPSHOTS_BUCKET
            ),
            StoreKind::Redb => write!(
                f,
                "{rows} rows, each compared: {store} has them; start this controller without --store, and no other; the stream {stream} is as it was, and of no use any more: remove it"
            ),
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
            store: self.store(),
            rows,
            to: self.to,
        })
    }

    fn store(&self) -> PathBuf {
        self.data_dir.join(FILE_NAME)
    }

    fn stream(&self, client: Client) -> JetStream {
        JetStream {
            client,
            name: subjects::JOURNAL_STREAM.to_owned(),
            subject: subjects::JOURNAL.to_owned(),
            replicas: self.replicas,
        }
    }

    fn to_jetstream(&self, runtime: &Handle, client: Client) -> Result<usize, MigrateError> {
        let source = Snapshot::of_file(&self.store())?;
        if source.stream()?.is_some() {
            return Err(MigrateError::Already(self.store()));
        }
        let whole = Whole::read(&source)?;
        drop(source);
        let stream = self.stream(client);
        if runtime.block_on(is_there(&stream))? {
            return Err(MigrateError::StreamExists(stream.name));
        }
        let peers = runtime.block_on(Peers::open(stream.clone(), subjects::SNAPSHOTS_BUCKET))?;

        let name = stream.name.clone();
        let draft = whole.write(&self.data_dir, Some((&name, BEFORE_THE_FIRST)))?;
        compare(&whole, draft.path())?;
        runtime.block_on(peers.put(draft.path(), BEFORE_THE_FIRST))?;
        let (back, file) = DraftFile::create(&self.data_dir)?;
        runtime.block_on(peers.get(&back, file))?;
        compare(&whole, back.path())?;
        // From here on the record is there, and whoever comes finds it.
        JetStreamJournal::open_after(runtime.clone(), stream, BEFORE_THE_FIRST)
            .map_err(StoreError::from)?;
        place_rows(draft, &self.data_dir, &name)?;
        Ok(whole.rows())
    }

    fn to_redb(&self, runtime: &Handle, client: Client) -> Result<usize, MigrateError> {
        let stream = self.stream(client.clone());
        if !runtime.block_on(is_there(&stream))? {
            return Err(MigrateError::NoStream(stream.name));
        }
        let bucket = subjects::LEASES_BUCKET;
        let leases = runtime.block_on(Leases::open(client, bucket, self.replicas, TTL))?;
        let lease = runtime.block_on(leases.take(subjects::LEADER_KEY))?;
        let mut lease = lease.ok_or(MigrateError::Led)?;
        let peers = runtime.block_on(Peers::open(stream.clone(), subjects::SNAPSHOTS_BUCKET))?;
        // Nobody is to lead meanwhile.
        let held = lease.held();
        let keeping = runtime.spawn(async move {
            lease.keep().await;
            lease
        });
        let migrated = self
            .read_stream(runtime, &stream, &peers)
            .and_then(|(whole, draft)| {
                if !held.is_valid() {
                    return Err(MigrateError::Led);
                }
                draft.replace(&self.store())?;
                Ok(whole.rows())
            });
        keeping.abort();
        migrated
    }

    /// All that the rows and the stream have, as a store that has its journal in its file.
    fn read_stream(
        &self,
        runtime: &Handle,
        stream: &JetStream,
        peers: &Peers,
    ) -> Result<(Whole, DraftFile), MigrateError> {
        let take = || {
            let store = ReplicatedStore::open(&self.data_dir, runtime.clone(), stream.clone())?;
            let snapshots = store.snapshots();
            snapshots
                .with_journal(runtime.clone(), stream.clone())
                .take()
                .and_then(|all| Whole::read(&all))
        };
        let whole = match take() {
            Err(StoreError::Journal(JournalError::Trimmed { .. })) => {
                runtime.block_on(peers.fetch(&self.data_dir))?;
                take()?
            }
            whole => whole?,
        };
        let draft = whole.write(&self.data_dir, None)?;
        compare(&whole, draft.path())?;
        Ok((whole, draft))
    }
}

/// Whether a file has exactly these rows.
fn compare(whole: &Whole, file: &Path) -> Result<(), MigrateError> {
    let written = Whole::read(&Snapshot::of_file(file)?)?;
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
