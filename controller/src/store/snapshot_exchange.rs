//! Snapshots of the rows in an object store on the NATS servers. The leader uploads a snapshot and
//! then trims the journal. A controller downloads the snapshot if its rows end before the start of
//! the trimmed journal.
//!
//! The name of a snapshot contains the sequence of the last message in it. A deposed leader that
//! resumes during an upload can therefore only add a snapshot that is older than the newest one,
//! and can only trim messages that are already trimmed.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_nats::jetstream::object_store::{Config, Object, ObjectStore};
use async_nats::jetstream::{self, Context};
use scuttle_schemas::subjects;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::spawn_blocking;
use tracing::{info, warn};

use crate::leadership::lease::LeaseGuard;
use crate::store::error::StoreError;
use crate::store::replicated::jetstream::JournalStream;
use crate::store::replicated::rows::{export_rows, install_rows};
use crate::store::replicated::shared_journal::SnapshotInfo;
use crate::store::replicated::snapshot_list::{self, StoredSnapshot};
use crate::store::snapshot::Snapshots;
use crate::store::staged_file::StagedFile;

/// The timeout of a request to the servers.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

/// The interval at which the leader checks the size of the journal.
const POLL_INTERVAL: Duration = Duration::from_secs(10);

/// The size in bytes up to which the journal is left alone: at startup, a controller reads a
/// journal of up to this size in a fraction of a second. For a larger journal, a new snapshot is
/// uploaded only once the journal has outgrown the last snapshot, so snapshots at most double the
/// amount of data written.
pub const MIN_JOURNAL_SIZE: u64 = 16 << 20;

/// The maximum number of bytes that a download copies at a time.
const CHUNK_SIZE: usize = 128 << 10;

/// The reason why a snapshot could not be made or transferred, or the journal could not be trimmed.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotExchangeError {
    /// The servers rejected a request or did not respond.
    #[error("cannot {action} in the object store {bucket}: {cause}")]
    Failed {
        action: &'static str,
        bucket: String,
        cause: String,
    },
    /// The object store has no snapshot.
    #[error(
        "the journal was trimmed, and the object store {bucket} has no snapshot of the trimmed messages: start a controller that still has its data directory, or restore a backup and migrate it"
    )]
    Missing { bucket: String },
    /// The local file could not be read or written.
    #[error("cannot access the snapshot file {}: {cause}", .path.display())]
    LocalFile { path: PathBuf, cause: io::Error },
    /// The snapshot is invalid, or could not be made or installed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A handle to one partition's snapshots in the object store.
#[derive(Clone)]
pub struct SnapshotExchange {
    stream: JournalStream,
    context: Context,
    objects: ObjectStore,
    bucket: String,
    /// The prefix of the names of this partition's snapshots.
    prefix: String,
}

impl SnapshotExchange {
    /// Opens the object store and creates it if it is missing.
    ///
    /// # Errors
    /// If the servers reject the request or do not reply.
    pub async fn open(stream: JournalStream) -> Result<Self, SnapshotExchangeError> {
        let mut context = jetstream::new(stream.client.clone());
        context.set_timeout(REQUEST_TIMEOUT);
        Ok(Self {
            objects: open_store(&context, stream.replicas).await?,
            prefix: subjects::snapshot_name_prefix(stream.assignment.partition),
            stream,
            context,
            bucket: subjects::SNAPSHOTS_BUCKET.to_owned(),
        })
    }

    /// Downloads the newest snapshot and installs it in a data directory. A store that is already
    /// there must be closed, and is replaced.
    ///
    /// # Errors
    /// If there is no snapshot, the download fails, or the snapshot is invalid or cannot be
    /// installed.
    pub async fn install_newest(&self, data_dir: &Path) -> Result<(), SnapshotExchangeError> {
        let (staged, file) = StagedFile::create_in(data_dir)?;
        self.download_newest(&staged, file).await?;
        let (data_dir, stream) = (data_dir.to_owned(), self.stream.name.clone());
        let installing = spawn_blocking(move || install_rows(staged, &data_dir, &stream));
        Ok(unwrap_join(installing.await)?)
    }

    /// Downloads the newest snapshot to `file`, which must be the open file of `staged`.
    ///
    /// # Errors
    /// If there is no snapshot, the download fails, or the file cannot be written.
    pub async fn download_newest(
        &self,
        staged: &StagedFile,
        file: std::fs::File,
    ) -> Result<(), SnapshotExchangeError> {
        let newest = self.list_snapshots().await?.pop();
        let newest = newest.ok_or_else(|| SnapshotExchangeError::Missing {
            bucket: self.bucket.clone(),
        })?;
        info!("downloading a snapshot of {}", format_size(newest.size));
        let got = self.objects.get(&newest.name).await;
        let mut object = got.map_err(failed("download a snapshot", &self.bucket))?;
        let copied = copy(&mut object, File::from_std(file)).await;
        copied.map_err(|error| match error {
            CopyError::Read(cause) => failed("download a snapshot", &self.bucket)(cause),
            CopyError::TimedOut => {
                failed("download a snapshot", &self.bucket)("the data did not arrive in time")
            }
            CopyError::Write(cause) => SnapshotExchangeError::LocalFile {
                path: staged.path().to_owned(),
                cause,
            },
        })
    }

    /// Uploads a file as the snapshot with this information, and returns the size of the snapshot
    /// in bytes.
    ///
    /// # Errors
    /// If the file cannot be read, or the servers reject the request or do not reply.
    pub async fn upload(
        &self,
        path: &Path,
        info: SnapshotInfo,
    ) -> Result<u64, SnapshotExchangeError> {
        let opened = File::open(path).await;
        let mut file = opened.map_err(|cause| SnapshotExchangeError::LocalFile {
            path: path.to_owned(),
            cause,
        })?;
        let metadata = snapshot_list::object_metadata(&self.prefix, info);
        let put = self.objects.put(metadata, &mut file).await;
        let put = put.map_err(failed("upload a snapshot", &self.bucket))?;
        Ok(put.size as u64)
    }

    /// Returns the newest snapshot, or `None` if there is no snapshot. A journal that ends before
    /// the last message of the snapshot has lost messages.
    ///
    /// # Errors
    /// If the servers reject the request or do not reply.
    pub async fn newest(&self) -> Result<Option<SnapshotInfo>, SnapshotExchangeError> {
        let newest = self.list_snapshots().await?.pop();
        Ok(newest.map(|snapshot| snapshot.info))
    }

    /// Deletes all snapshots except the one that contains all messages up to `sequence`.
    ///
    /// # Errors
    /// If the servers reject the request or do not reply.
    pub async fn delete_others(&self, sequence: u64) -> Result<(), SnapshotExchangeError> {
        for other in self.list_snapshots().await? {
            if other.info.sequence != sequence {
                self.delete(&other).await?;
            }
        }
        Ok(())
    }

    async fn delete(&self, snapshot: &StoredSnapshot) -> Result<(), SnapshotExchangeError> {
        let deleted = self.objects.delete(&snapshot.name).await;
        deleted.map_err(failed("delete an old snapshot", &self.bucket))
    }

    /// Trims the journal periodically while the lease is valid. Logs a warning when that fails.
    pub fn trim_while_leading(
        &self,
        data_dir: &Path,
        rows: Snapshots,
        lease: LeaseGuard,
    ) -> impl Future<Output = ()> + Send + 'static {
        let (exchange, data_dir) = (self.clone(), data_dir.to_owned());
        async move {
            while lease.is_valid() {
                tokio::time::sleep(POLL_INTERVAL).await;
                if let Err(error) = exchange
                    .trim_if_long(&data_dir, &rows, MIN_JOURNAL_SIZE)
                    .await
                {
                    warn!("could not trim the journal: {error}");
                }
            }
        }
    }

    /// Trims the journal if it is larger than `min_size` bytes. If the object store was deleted,
    /// creates it again.
    ///
    /// - If the journal still holds messages that the newest snapshot contains, removes these
    ///   messages.
    /// - Otherwise, if the journal is larger than the newest snapshot and the rows contain newer
    ///   messages, uploads a new snapshot, removes the messages that it contains, and deletes older
    ///   snapshots. The same happens, whatever the size, if no snapshot contains the messages that
    ///   were trimmed.
    ///
    /// # Errors
    /// If a request to the servers or a local file operation fails. The journal is then unchanged,
    /// or has lost only messages that a snapshot contains.
    pub async fn trim_if_long(
        &self,
        data_dir: &Path,
        rows: &Snapshots,
        min_size: u64,
    ) -> Result<(), SnapshotExchangeError> {
        let found = self.context.get_stream(&self.stream.name).await;
        let journal = found.map_err(failed("read the state of the journal", &self.bucket))?;
        let purge = async |sequence: u64| {
            let purged = journal.purge().sequence(sequence + 1).await;
            purged.map_err(failed("trim the journal after a snapshot", &self.bucket))
        };
        let state = &journal.cached_info().state;
        open_store(&self.context, self.stream.replicas).await?;
        let last = self.list_snapshots().await?.pop();
        let contained = last.as_ref().map_or(0, |last| last.info.sequence);
        let is_covered = state.first_sequence <= contained + 1;
        if is_covered && state.bytes <= min_size {
            return Ok(());
        }
        if contained >= state.first_sequence && contained <= state.last_sequence {
            purge(contained).await?;
            return Ok(());
        }
        let size = last.as_ref().map_or(0, |last| last.size);
        if is_covered && state.bytes <= size {
            return Ok(());
        }
        // The thread gets a snapshot instead of the store, because a leader that steps down in the
        // meantime opens the store again at once.
        let (snapshot, data_dir) = (rows.take()?, data_dir.to_owned());
        let writing = spawn_blocking(move || export_rows(&snapshot, &data_dir)).await;
        let (staged, info) = unwrap_join(writing)?;
        let sequence = info.sequence;
        // A snapshot of rows that end before the start of the journal would be useless.
        if sequence <= contained || sequence + 1 < state.first_sequence {
            return Ok(());
        }
        let size = self.upload(staged.path(), info).await?;
        purge(sequence).await?;
        for older in self.list_snapshots().await? {
            if older.info.sequence < sequence {
                self.delete(&older).await?;
            }
        }
        info!(
            "trimmed the journal up to message {sequence}; a snapshot of {} contains it",
            format_size(size)
        );
        Ok(())
    }

    /// Lists this partition's snapshots, the newest last.
    async fn list_snapshots(&self) -> Result<Vec<StoredSnapshot>, SnapshotExchangeError> {
        let listed = snapshot_list::list_snapshots(&self.objects, &self.prefix).await;
        listed.map_err(failed("list the snapshots", &self.bucket))
    }
}

/// Opens the object store of the snapshots and creates it if it is missing.
async fn open_store(
    context: &Context,
    replicas: usize,
) -> Result<ObjectStore, SnapshotExchangeError> {
    let bucket = subjects::SNAPSHOTS_BUCKET;
    if let Ok(existing) = context.get_object_store(bucket).await {
        return Ok(existing);
    }
    let config = Config {
        bucket: bucket.to_owned(),
        num_replicas: replicas,
        ..Config::default()
    };
    let made = context.create_object_store(config).await;
    made.map_err(failed("create a bucket", bucket))
}

/// The reason why a snapshot could not be copied to a file.
enum CopyError {
    Read(io::Error),
    TimedOut,
    Write(io::Error),
}

/// Copies a complete object to a file and syncs the file. Fails if no data arrives within
/// [`REQUEST_TIMEOUT`].
async fn copy(from: &mut Object, mut to: File) -> Result<(), CopyError> {
    let mut chunk = vec![0; CHUNK_SIZE];
    loop {
        let read = tokio::time::timeout(REQUEST_TIMEOUT, from.read(&mut chunk)).await;
        let read = read.map_err(|_| CopyError::TimedOut)?;
        match read.map_err(CopyError::Read)? {
            0 => return to.sync_all().await.map_err(CopyError::Write),
            read => to
                .write_all(&chunk[..read])
                .await
                .map_err(CopyError::Write)?,
        }
    }
}

/// Formats a size in MiB, or in KiB below 1 MiB. Rounds up.
fn format_size(bytes: u64) -> String {
    if bytes < 1 << 20 {
        format!("{} KiB", bytes.div_ceil(1 << 10))
    } else {
        format!("{} MiB", bytes.div_ceil(1 << 20))
    }
}

/// Returns the result of a blocking task. If the task panicked, resumes the panic.
fn unwrap_join<T>(
    ended: Result<Result<T, StoreError>, tokio::task::JoinError>,
) -> Result<T, StoreError> {
    ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

/// Returns a function for `map_err` that turns a failed request into
/// [`SnapshotExchangeError::Failed`].
fn failed<E: std::fmt::Display>(
    action: &'static str,
    bucket: &str,
) -> impl FnOnce(E) -> SnapshotExchangeError + use<E> {
    let bucket = bucket.to_owned();
    move |cause| SnapshotExchangeError::Failed {
        action,
        bucket,
        cause: cause.to_string(),
    }
}
