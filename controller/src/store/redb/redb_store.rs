//! The store on disk: one redb file. Appending a batch adds one record to the `journal` table and
//! takes one fsync. A checkpoint folds journal records into the tables of the rows.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

use ::redb::{Database, ReadableDatabase, StorageBackend, WriteTransaction};
use scuttle_core::{Change, ReplayError};

use crate::store::disk_format::{self, JOURNAL, META, Rows, SWARM_KEY, WriteError};
use crate::store::error::StoreError;
use crate::store::format_version::{FORMAT, KnownStream, StreamPosition};
use crate::store::latest_changes::LatestChanges;
use crate::store::redb::database::{
    FILE_NAME, builder, create_dir, failed, make_tables, open_without_writing, read_format,
};
use crate::store::redb::upgrade::upgrade;
use crate::store::snapshot::Snapshots;
use crate::store::staged_file::StagedStore;
use crate::store::store_trait::Store;

/// The number of rows that a load reads before it passes them to the thread that applies them.
const ROWS_PER_CHUNK: usize = 1_000;

/// The maximum number of chunks that wait to be applied. This number keeps both threads busy and
/// takes little memory compared with the state.
const MAX_QUEUED_CHUNKS: usize = 8;

/// A store in a file, which only one process can open at a time.
#[derive(Debug)]
pub struct RedbStore {
    /// The database, which this store shares with its sources of snapshots.
    database: Arc<Database>,
    path: PathBuf,
    /// The number of the next journal record.
    next: u64,
    /// The number of changes in the journal.
    journal: usize,
    /// The encoding of the last batch, kept to reuse its memory.
    buffer: Vec<u8>,
}

impl RedbStore {
    /// Opens the store in a data directory, and creates the directory and the store if they are
    /// missing. Never replaces an existing file. Upgrades a file of an earlier format.
    ///
    /// # Errors
    /// If another process has the store open, if the directory or file cannot be created or read,
    /// if the file is damaged, foreign or in another format, or if its rows belong to a stream.
    pub fn open(data_dir: &Path) -> Result<Self, StoreError> {
        let store = Self::open_any_journal(data_dir)?;
        match store.stream_position()? {
            None => Ok(store),
            Some(contained) => Err(StoreError::OtherJournal {
                path: store.path,
                found: Some(contained.stream),
                advice: "start with --store jetstream, or migrate the record",
            }),
        }
    }

    /// Returns the store if its rows belong to `stream`. The rows of an empty store are assigned to
    /// `stream` first.
    ///
    /// # Errors
    /// If the rows belong to another journal, or the store cannot be read or written.
    pub(crate) fn for_stream(self, stream: &str) -> Result<Self, StoreError> {
        let found = match self.stream_position()? {
            Some(contained) if contained.stream == stream => return Ok(self),
            Some(contained) => Some(contained.stream),
            None if self.is_empty()? => {
                let position = StreamPosition {
                    stream: stream.to_owned(),
                    sequence: 0,
                };
                self.apply_checkpoint(&LatestChanges::default(), &position, None)?;
                return Ok(self);
            }
            None => None,
        };
        Err(StoreError::OtherJournal {
            path: self.path,
            found,
            advice: "start with this stream's data directory or an empty one, or migrate the record",
        })
    }

    /// Opens or creates the store's file. The rows may belong to any journal.
    pub(crate) fn open_any_journal(data_dir: &Path) -> Result<Self, StoreError> {
        create_dir(data_dir)?;
        let path = data_dir.join(FILE_NAME);
        verify_without_writing(&path)?;
        let database = match open_file(&path) {
            Err(StoreError::Io { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => {
                create_file(&path)?
            }
            opened => opened?,
        };
        Self::from_database(database, path)
    }

    /// Opens a store in a storage backend, and creates the store if the backend is empty. Errors
    /// show `name` as the path of the store.
    ///
    /// # Errors
    /// If the backend fails, or if its content is damaged, foreign or in another format.
    pub fn open_backend(storage: impl StorageBackend, name: &Path) -> Result<Self, StoreError> {
        let failed = failed("open", name);
        let empty = storage.len().map_err(|error| failed(error.into()))? == 0;
        let opened = builder().create_with_backend(storage);
        let database = opened.map_err(|error| failed(error.into()))?;
        if empty {
            make_tables(&database, name)?;
        }
        Self::from_database(database, name.to_owned())
    }

    fn from_database(database: Database, path: PathBuf) -> Result<Self, StoreError> {
        let mut store = Self {
            database: Arc::new(database),
            path,
            next: 0,
            journal: 0,
            buffer: Vec::new(),
        };
        if read_format(&*store.database, &store.path)? != FORMAT {
            upgrade(&store.database, &store.path)?;
        }
        store.measure_journal()?;
        Ok(store)
    }

    /// Returns a source of snapshots that works while the store is in use. The file stays open and
    /// locked until both the store and the source are dropped.
    pub fn snapshots(&self) -> Snapshots {
        Snapshots::new(Arc::clone(&self.database), self.path.clone())
    }

    fn measure_journal(&mut self) -> Result<(), StoreError> {
        let failed = self.failed("read");
        let transaction = self.database.begin_read().map_err(|e| failed(e.into()))?;
        let journal = (transaction.open_table(JOURNAL)).map_err(|e| failed(e.into()))?;
        let (mut next, mut changes) = (0, 0);
        for record in journal.range::<u64>(..).map_err(|e| failed(e.into()))? {
            let (number, bytes) = record.map_err(|e| failed(e.into()))?;
            next = number.value() + 1;
            changes += disk_format::batch_len(bytes.value()).map_err(disk_format::damaged(
                &self.path,
                "journal",
                number.value(),
            ))?;
        }
        (self.next, self.journal) = (next, changes);
        Ok(())
    }

    /// Reads the rows and then the journal, and sends them in chunks.
    fn read_changes(&self, to: &SyncSender<Vec<Change>>) -> Result<(), StoreError> {
        let failed = self.failed("read");
        let mut chunk = Vec::with_capacity(ROWS_PER_CHUNK);
        let transaction = self.database.begin_read().map_err(|e| failed(e.into()))?;
        disk_format::read_rows(&transaction, &self.path, &mut |change| {
            chunk.push(change);
            if chunk.len() == ROWS_PER_CHUNK {
                // A send fails only if the receiver stopped because of an error, which it reports.
                let _ = to.send(std::mem::replace(
                    &mut chunk,
                    Vec::with_capacity(ROWS_PER_CHUNK),
                ));
            }
            Ok(())
        })?;
        let _ = to.send(chunk);
        let journal = (transaction.open_table(JOURNAL)).map_err(|e| failed(e.into()))?;
        for record in journal.range::<u64>(..).map_err(|e| failed(e.into()))? {
            let (number, bytes) = record.map_err(|e| failed(e.into()))?;
            let batch = disk_format::decode(bytes.value()).map_err(disk_format::damaged(
                &self.path,
                "journal",
                number.value(),
            ))?;
            let _ = to.send(batch);
        }
        Ok(())
    }

    /// Returns a function for `map_err` that turns redb's error into a [`StoreError`] with the
    /// action and this file.
    fn failed(&self, action: &'static str) -> impl Fn(::redb::Error) -> StoreError + use<> {
        failed(action, &self.path)
    }

    /// Returns the position in the stream that the rows reflect, or `None` if their journal is in
    /// this file.
    fn stream_position(&self) -> Result<Option<StreamPosition>, StoreError> {
        let failed = self.failed("read");
        let transaction = self.database.begin_read().map_err(|e| failed(e.into()))?;
        disk_format::read_stream_position(&transaction, &self.path)
    }

    /// Returns the sequence of the last stream message that the rows contain, or 0 if they contain
    /// no message.
    pub(crate) fn last_contained_sequence(&self) -> Result<u64, StoreError> {
        Ok(self
            .stream_position()?
            .map_or(0, |contained| contained.sequence))
    }

    /// Returns the stream that the rows were read from, or `None` if it is not known.
    pub(crate) fn known_stream(&self) -> Result<Option<KnownStream>, StoreError> {
        let failed = self.failed("read");
        let transaction = self.database.begin_read().map_err(|e| failed(e.into()))?;
        disk_format::read_known_stream(&transaction, &self.path)
    }

    /// Returns whether the store is new: neither the rows nor the journal contains any changes.
    fn is_empty(&self) -> Result<bool, StoreError> {
        let failed = self.failed("read");
        let transaction = self.database.begin_read().map_err(|e| failed(e.into()))?;
        let meta = transaction.open_table(META).map_err(|e| failed(e.into()))?;
        let swarm = meta.get(SWARM_KEY).map_err(|e| failed(e.into()))?;
        Ok(swarm.is_none() && self.journal == 0)
    }

    /// Applies changes to the rows and records the stream position that the rows then reflect, and
    /// the stream, if it is known, in one transaction.
    pub(crate) fn apply_checkpoint(
        &self,
        changes: &LatestChanges,
        position: &StreamPosition,
        known: Option<&KnownStream>,
    ) -> Result<(), StoreError> {
        let failed = self.failed("make a checkpoint in");
        let transaction = self.database.begin_write().map_err(|e| failed(e.into()))?;
        self.write_rows(&transaction, changes, |rows| {
            rows.write_stream_position(position, known)
        })?;
        transaction.commit().map_err(|e| failed(e.into()))
    }

    fn write_rows(
        &self,
        transaction: &WriteTransaction,
        changes: &LatestChanges,
        write_more: impl FnOnce(&mut Rows<'_>) -> Result<(), WriteError>,
    ) -> Result<(), StoreError> {
        let failed = self.failed("make a checkpoint in");
        let mut rows = Rows::open(transaction).map_err(|e| failed(e.into()))?;
        let written = (changes.0.values()).try_for_each(|change| rows.write(change));
        written
            .and_then(|()| write_more(&mut rows))
            .map_err(|error| match error {
                WriteError::Storage(error) => failed(error.into()),
                WriteError::Encode(error) => self.encoding_error(&error),
            })
    }

    /// Moves the journal's oldest batches into the rows, until they hold at least `changes` changes
    /// or the journal is empty. Returns the number of changes that were moved.
    fn fold_journal(
        &self,
        transaction: &WriteTransaction,
        changes: usize,
    ) -> Result<usize, StoreError> {
        let failed = self.failed("make a checkpoint in");
        let mut journal = (transaction.open_table(JOURNAL)).map_err(|e| failed(e.into()))?;
        let (mut taken, mut latest) = (0, LatestChanges::default());
        while taken < changes
            && let Some((number, bytes)) = journal.pop_first().map_err(|e| failed(e.into()))?
        {
            let batch: Vec<Change> = disk_format::decode(bytes.value())
                .map_err(disk_format::damaged(&self.path, "journal", number.value()))?;
            taken += batch.len();
            for change in batch {
                latest.insert(change);
            }
        }
        self.write_rows(transaction, &latest, |_| Ok(()))?;
        Ok(taken)
    }

    fn encoding_error(&self, error: &postcard::Error) -> StoreError {
        StoreError::Database {
            action: "encode a change for",
            path: self.path.clone(),
            cause: error.to_string(),
        }
    }
}

impl Store for RedbStore {
    /// Reads and decodes the changes on a second thread, while the current thread applies them.
    fn load(
        &mut self,
        each: &mut dyn FnMut(Change) -> Result<(), ReplayError>,
    ) -> Result<(), StoreError> {
        let store = &*self;
        let (sender, chunks) = sync_channel(MAX_QUEUED_CHUNKS);
        std::thread::scope(|scope| {
            let reading = scope.spawn(move || store.read_changes(&sender));
            for change in chunks.into_iter().flatten() {
                each(change).map_err(|cause| StoreError::Replay {
                    path: store.path.clone(),
                    cause,
                })?;
            }
            (reading.join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn append(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        let failed = self.failed("write to");
        if let Err(error) = disk_format::encode(changes, &mut self.buffer) {
            return Err(self.encoding_error(&error));
        }
        let transaction = self.database.begin_write().map_err(|e| failed(e.into()))?;
        {
            let mut journal = (transaction.open_table(JOURNAL)).map_err(|e| failed(e.into()))?;
            (journal.insert(self.next, self.buffer.as_slice())).map_err(|e| failed(e.into()))?;
        }
        transaction.commit().map_err(|e| failed(e.into()))?;
        self.next += 1;
        self.journal += changes.len();
        Ok(())
    }

    fn checkpoint(&mut self, changes: usize) -> Result<usize, StoreError> {
        if self.journal > 0 && changes > 0 {
            let failed = self.failed("make a checkpoint in");
            let transaction = self.database.begin_write().map_err(|e| failed(e.into()))?;
            let taken = self.fold_journal(&transaction, changes)?;
            transaction.commit().map_err(|e| failed(e.into()))?;
            self.journal -= taken;
        }
        Ok(self.journal)
    }

    fn journal_len(&self) -> usize {
        self.journal
    }
}

/// Checks a file without writing to it, so that a file that is damaged, foreign or in another
/// format is rejected unchanged. Accepts a file that is missing or cannot be opened.
fn verify_without_writing(path: &Path) -> Result<(), StoreError> {
    match fs::File::open(path) {
        Ok(file) => open_without_writing(file, path).map(drop),
        // The file is missing and will be created, or opening it later reports the error.
        Err(_) => Ok(()),
    }
}

/// Opens a file that has just been verified, without verifying it again.
fn open_file(path: &Path) -> Result<Database, StoreError> {
    builder()
        .set_check_integrity_on_open(false)
        .open(path)
        .map_err(|error| failed("open", path)(error.into()))
}

/// Creates an empty store under a temporary name and then gives it its real name. A crash therefore
/// never leaves an incomplete store, and a file without a format is always damaged or foreign.
fn create_file(path: &Path) -> Result<Database, StoreError> {
    match StagedStore::create_for(path)?.finish()?.link(path) {
        // Another controller created the file at the same time.
        Err(StoreError::Io { cause, .. }) if cause.kind() == io::ErrorKind::AlreadyExists => {}
        linked => linked?,
    }
    open_file(path)
}
