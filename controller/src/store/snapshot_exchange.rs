//! What controllers hand each other: a snapshot of the rows, in an object store on the servers. A controller whose rows end
//! before the journal begins gets it from there. Whoever leads puts it there, and then trims the journal.
//!
//! A snapshot's name has the last message that it contains. So an old leader that wakes up amid this can only add one that is
//! older than the newest, and trim what is trimmed already.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_nats::jetstream::object_store::{Config, Object, ObjectStore};
use async_nats::jetstream::{self, Context};
use futures_util::TryStreamExt;
use scuttle_schemas::subjects;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::spawn_blocking;
use tracing::{info, warn};

use crate::leadership::lease::LeaseGuard;
use crate::store::{JetStream, Snapshots, StagedFile, StoreError, place_rows, write_rows};

/// How long the servers may take for an answer: as for the journal.
const PATIENCE: Duration = Duration::from_secs(3);

/// How often it is looked how long the journal is.
const LOOK: Duration = Duration::from_secs(10);

/// Bytes of a journal that are not worth a snapshot: a start reads them in a fraction of a second. A longer one is
/// trimmed when it is longer than the last snapshot, so that at most as much is written again as was written.
pub const WORTH: u64 = 16 << 20;

/// How much of a snapshot is written at once.
const PIECE: usize = 128 << 10;

/// A snapshot could not be handed on.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotExchangeError {
    /// The servers do not do it.
    #[error("cannot {action} in the object store {bucket}: {cause}")]
    Refused {
        /// What was tried.
        action: &'static str,
        /// Where.
        bucket: String,
        /// Why not.
        cause: String,
    },
    /// There is none.
    #[error(
        "the journal was trimmed, and no snapshot of what it had is in the object store {bucket}: start a controller that has its data directory still, or restore a backup and migrate it"
    )]
    None {
        /// Where none is.
        bucket: String,
    },
    /// This machine does not do it.
    #[error("cannot write a snapshot to {}: {cause}", .path.display())]
    Unwritten {
        /// The file.
        path: PathBuf,
        /// Why not.
        cause: io::Error,
    },
    /// It is no snapshot of ours, or cannot be made, or put in place.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A snapshot in the object store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Stored {
    /// The last message that it contains.
    sequence: u64,
    name: String,
    /// In bytes.
    size: u64,
}

/// Where controllers hand each other snapshots.
#[derive(Clone)]
pub struct SnapshotExchange {
    stream: JetStream,
    context: Context,
    objects: ObjectStore,
    bucket: String,
    /// What the names of its snapshots begin with.
    prefix: String,
}

impl SnapshotExchange {
    /// Opens the object store; makes it if it is missing.
    ///
    /// # Errors
    /// The servers do not do it.
    pub async fn open(stream: JetStream, bucket: &str) -> Result<Self, SnapshotExchangeError> {
        let mut context = jetstream::new(stream.client.clone());
        context.set_timeout(PATIENCE);
        let there = context.get_object_store(bucket).await;
        let objects = if let Ok(there) = there {
            there
        } else {
            let config = Config {
                bucket: bucket.to_owned(),
                num_replicas: stream.replicas,
                ..Config::default()
            };
            let made = context.create_object_store(config).await;
            made.map_err(refused("make it", bucket))?
        };
        Ok(Self {
            prefix: subjects::snapshot_name_prefix(stream.assignment.partition),
            stream,
            context,
            objects,
            bucket: bucket.to_owned(),
        })
    }

    /// Gets the newest snapshot and makes it the rows of a data directory, whose store is closed.
    ///
    /// # Errors
    /// There is none, or it does not come whole.
    pub async fn fetch(&self, data_dir: &Path) -> Result<(), SnapshotExchangeError> {
        let (draft, file) = StagedFile::create(data_dir)?;
        self.get(&draft, file).await?;
        let (data_dir, stream) = (data_dir.to_owned(), self.stream.name.clone());
        let placing = spawn_blocking(move || place_rows(draft, &data_dir, &stream));
        Ok(joined(placing.await)?)
    }

    /// Gets the newest snapshot into a file.
    ///
    /// # Errors
    /// There is none, or it does not come whole.
    pub async fn get(
        &self,
        draft: &StagedFile,
        file: std::fs::File,
    ) -> Result<(), SnapshotExchangeError> {
        let newest = self.stored().await?.pop();
        let newest = newest.ok_or_else(|| SnapshotExchangeError::None {
            bucket: self.bucket.clone(),
        })?;
        info!("fetching a snapshot of {} MiB", newest.size >> 20);
        let got = self.objects.get(&newest.name).await;
        let mut object = got.map_err(refused("get a snapshot", &self.bucket))?;
        let copied = copy(&mut object, File::from_std(file)).await;
        copied.map_err(|error| match error {
            CopyError::Read(cause) => refused("get a snapshot", &self.bucket)(cause),
            CopyError::Late => refused("get a snapshot", &self.bucket)("it does not come"),
            CopyError::Write(cause) => SnapshotExchangeError::Unwritten {
                path: draft.path().to_owned(),
                cause,
            },
        })
    }

    /// Puts a file there as the snapshot that contains this message, and all before it; answers its size in bytes.
    ///
    /// # Errors
    /// It cannot be read, or the servers do not take it.
    pub async fn put(&self, path: &Path, sequence: u64) -> Result<u64, SnapshotExchangeError> {
        let opened = File::open(path).await;
        let mut file = opened.map_err(|cause| SnapshotExchangeError::Unwritten {
            path: path.to_owned(),
            cause,
        })?;
        let name = format!("{}{sequence:020}", self.prefix);
        let put = self.objects.put(name.as_str(), &mut file).await;
        let put = put.map_err(refused("put a snapshot", &self.bucket))?;
        Ok(put.size as u64)
    }

    /// The last message that a snapshot contains: the journal has had it.
    ///
    /// # Errors
    /// The servers do not say.
    pub async fn newest(&self) -> Result<Option<u64>, SnapshotExchangeError> {
        Ok(self.stored().await?.pop().map(|stored| stored.sequence))
    }

    /// Keeps the journal short, as long as the lease is held.
    pub fn trim(
        &self,
        data_dir: &Path,
        rows: Snapshots,
        lease: LeaseGuard,
    ) -> impl Future<Output = ()> + Send + 'static {
        let (peers, data_dir) = (self.clone(), data_dir.to_owned());
        async move {
            while lease.is_valid() {
                tokio::time::sleep(LOOK).await;
                if let Err(error) = peers.trim_if_long(&data_dir, &rows, WORTH).await {
                    warn!("the journal is not trimmed: {error}");
                }
            }
        }
    }

    /// Makes a snapshot and trims the journal, if that is longer than both the last snapshot and `worth`.
    ///
    /// # Errors
    /// The servers or this machine do not do it. The journal is then as it was, or has lost what a snapshot contains.
    pub async fn trim_if_long(
        &self,
        data_dir: &Path,
        rows: &Snapshots,
        worth: u64,
    ) -> Result<(), SnapshotExchangeError> {
        let found = self.context.get_stream(&self.stream.name).await;
        let journal = found.map_err(refused("look at the journal", &self.bucket))?;
        let purge = async |sequence: u64| {
            // What it contains is not needed any more.
            let purged = journal.purge().sequence(sequence + 1).await;
            purged.map_err(refused("trim the journal after a snapshot", &self.bucket))
        };
        let state = &journal.cached_info().state;
        if state.bytes <= worth {
            return Ok(());
        }
        let last = self.stored().await?.pop();
        if let Some(last) = &last
            && last.sequence >= state.first_sequence
            && last.sequence <= state.last_sequence
        {
            purge(last.sequence).await?;
            return Ok(());
        }
        let size = last.as_ref().map_or(0, |last| last.size);
        if state.bytes <= size {
            return Ok(());
        }
        // Its thread gets no handle of the store itself, which whoever is deposed meanwhile opens again at once.
        let (snapshot, place) = (rows.take()?, data_dir.to_owned());
        let writing = spawn_blocking(move || write_rows(&snapshot, &place)).await;
        let (draft, sequence) = joined(writing)?;
        if last.is_some_and(|last| last.sequence >= sequence) || sequence == 0 {
            return Ok(());
        }
        let size = self.put(draft.path(), sequence).await?;
        purge(sequence).await?;
        for older in self.stored().await? {
            if older.sequence < sequence {
                let deleted = self.objects.delete(&older.name).await;
                deleted.map_err(refused("delete an old snapshot", &self.bucket))?;
            }
        }
        info!(
            "trimmed the journal up to message {sequence}, which a snapshot of {} MiB contains",
            size >> 20
        );
        Ok(())
    }

    /// All snapshots, the newest last.
    async fn stored(&self) -> Result<Vec<Stored>, SnapshotExchangeError> {
        let listed = self.objects.list().await;
        let listed = listed.map_err(refused("list the snapshots", &self.bucket))?;
        let all = listed.try_collect::<Vec<_>>().await;
        let all = all.map_err(refused("list the snapshots", &self.bucket))?;
        let read = all.into_iter().filter_map(|object| {
            let sequence = object.name.strip_prefix(&self.prefix)?.parse().ok()?;
            Some(Stored {
                sequence,
                size: object.size as u64,
                name: object.name,
            })
        });
        let mut stored: Vec<_> = read.collect();
        stored.sort();
        Ok(stored)
    }
}

/// Why a snapshot was not written to a file.
enum CopyError {
    Read(io::Error),
    Late,
    Write(io::Error),
}

/// Copies all of it, as long as it comes.
async fn copy(from: &mut Object, mut to: File) -> Result<(), CopyError> {
    let mut piece = vec![0; PIECE];
    loop {
        let read = tokio::time::timeout(PATIENCE, from.read(&mut piece)).await;
        let read = read.map_err(|_| CopyError::Late)?;
        match read.map_err(CopyError::Read)? {
            0 => return to.sync_all().await.map_err(CopyError::Write),
            read => to
                .write_all(&piece[..read])
                .await
                .map_err(CopyError::Write)?,
        }
    }
}

/// What a blocking task has done; a panic of its goes on here.
fn joined<T>(
    ended: Result<Result<T, StoreError>, tokio::task::JoinError>,
) -> Result<T, StoreError> {
    ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

/// For `map_err`: what was not done.
fn refused<E: std::fmt::Display>(
    action: &'static str,
    bucket: &str,
) -> impl FnOnce(E) -> SnapshotExchangeError + use<E> {
    let bucket = bucket.to_owned();
    move |cause| SnapshotExchangeError::Refused {
        action,
        bucket,
        cause: cause.to_string(),
    }
}
