//! The store on disk: one redb file. A batch is one record of the `journal` table and one fsync; a
//! checkpoint folds records into the rows' tables.

mod read_only_overlay;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

use ::redb::{Builder, Database, ReadableDatabase, StorageBackend, WriteTransaction};
use scuttle_core::{Change, ReplayError};

use super::codec::{
    self, FORMAT, FORMAT_KEY, JOURNAL, META, Rows, SWARM_KEY, StreamPosition, WriteError,
};
use super::snapshot::Snapshots;
use super::staged_file::StagedStore;
use super::{LatestChanges, Store, StoreError};
use read_only_overlay::ReadOnlyOverlay;

/// The store's file in the data directory.
pub const FILE_NAME: &str = "scuttle.redb";

/// Bytes of pages that redb keeps in memory. The rows are held in memory by the state; this is for the
/// pages that a checkpoint touches, and more than this made none faster.
const CACHE: usize = 64 << 20;

/// How many rows are read before they are handed to the thread that applies them, and how many such pieces wait for it at the
/// most: neither waits long for the other, and what waits is little beside what is kept.
const PIECE: usize = 1_000;
const PIECES: usize = 8;

/// A store in a file. One process has it open at a time.
#[derive(Debug)]
pub struct RedbStore {
    /// Shared with whoever makes a backup meanwhile.
    database: Arc<Database>,
    path: PathBuf,
    /// The number of the next journal record.
    next: u64,
    /// Changes in the journal.
    journal: usize,
    /// The bytes of the batch being appended.
    buffer: Vec<u8>,
}

impl RedbStore {
    /// Opens the store in a data directory; makes both if they are missing.
    ///
    /// # Errors
    /// Another process has it open; the directory or file cannot be made or read; the file is damaged,
    /// another program's, or another format's. A file that is there is never replaced.
    pub fn open(data_dir: &Path) -> Result<Self, StoreError> {
        let store = Self::open_any_journal(data_dir)?;
        match store.stream_position()? {
            None => Ok(store),
            Some(contained) => Err(StoreError::OtherJournal {
                path: store.path,
                found: Some(contained.stream),
                advice: "give --store jetstream, or migrate it",
            }),
        }
    }

    /// The rows of a stream: these, if they are that stream's, or nobody's.
    ///
    /// # Errors
    /// They are another journal's.
    pub(super) fn for_stream(self, stream: &str) -> Result<Self, StoreError> {
        let found = match self.stream_position()? {
            Some(contained) if contained.stream == stream => return Ok(self),
            Some(contained) => Some(contained.stream),
            None if self.is_empty()? => {
                self.replace(&LatestChanges::default(), (stream, 0))?;
                return Ok(self);
            }
            None => None,
        };
        Err(StoreError::OtherJournal {
            path: self.path,
            found,
            advice: "give the data directory of this stream, an empty one, or migrate it",
        })
    }

    /// Opens a store's file, or makes it, whatever journal its rows belong to.
    pub(super) fn open_any_journal(data_dir: &Path) -> Result<Self, StoreError> {
        create_dir(data_dir)?;
        let path = data_dir.join(FILE_NAME);
        verify_without_writing(&path)?;
        let database = match open_file(&path) {
            Err(StoreError::Io { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => {
                create_file(&path)?
            }
            opened => opened?,
        };
        Self::of(database, path)
    }

    /// Opens the store in storage of another kind than a file; makes it where there is nothing yet. Errors
    /// name it by `name`.
    ///
    /// # Errors
    /// The storage cannot be read or written; what it holds is damaged, or another format's.
    pub fn open_backend(storage: impl StorageBackend, name: &Path) -> Result<Self, StoreError> {
        let failed = failed("open", name);
        let empty = storage.len().map_err(|error| failed(error.into()))? == 0;
        let opened = builder().create_with_backend(storage);
        let database = opened.map_err(|error| failed(error.into()))?;
        if empty {
            make_tables(&database, name)?;
        }
        Self::of(database, name.to_owned())
    }

    fn of(database: Database, path: PathBuf) -> Result<Self, StoreError> {
        let mut store = Self {
            database: Arc::new(database),
            path,
            next: 0,
            journal: 0,
            buffer: Vec::new(),
        };
        check_format(&*store.database, &store.path)?;
        store.measure_journal()?;
        Ok(store)
    }

    /// Where snapshots of it are taken while it is written to. The file stays open, and locked, as long as either
    /// is there.
    pub fn snapshots(&self) -> Snapshots {
        Snapshots::of(Arc::clone(&self.database), self.path.clone())
    }

    fn measure_journal(&mut self) -> Result<(), StoreError> {
        let failed = self.failed("read");
        let transaction = self.database.begin_read().map_err(|e| failed(e.into()))?;
        let journal = (transaction.open_table(JOURNAL)).map_err(|e| failed(e.into()))?;
        let (mut next, mut changes) = (0, 0);
        for record in journal.range::<u64>(..).map_err(|e| failed(e.into()))? {
            let (number, bytes) = record.map_err(|e| failed(e.into()))?;
            next = number.value() + 1;
            changes += codec::batch_len(bytes.value()).map_err(codec::damaged(
                &self.path,
                "journal",
                number.value(),
            ))?;
        }
        (self.next, self.journal) = (next, changes);
        Ok(())
    }

    /// Reads the rows and then the journal, and hands them on piece by piece.
    fn read(&self, to: &SyncSender<Vec<Change>>) -> Result<(), StoreError> {
        let failed = self.failed("read");
        let mut piece = Vec::with_capacity(PIECE);
        let transaction = self.database.begin_read().map_err(|e| failed(e.into()))?;
        codec::read_rows(&transaction, &self.path, &mut |change| {
            piece.push(change);
            if piece.len() == PIECE {
                // Who takes no more says why.
                let _ = to.send(std::mem::replace(&mut piece, Vec::with_capacity(PIECE)));
            }
            Ok(())
        })?;
        let _ = to.send(piece);
        let journal = (transaction.open_table(JOURNAL)).map_err(|e| failed(e.into()))?;
        for record in journal.range::<u64>(..).map_err(|e| failed(e.into()))? {
            let (number, bytes) = record.map_err(|e| failed(e.into()))?;
            let batch = codec::decode(bytes.value()).map_err(codec::damaged(
                &self.path,
                "journal",
                number.value(),
            ))?;
            let _ = to.send(batch);
        }
        Ok(())
    }

    /// For `map_err`: what redb says about this file.
    fn failed(&self, action: &'static str) -> impl Fn(::redb::Error) -> StoreError + use<> {
        failed(action, &self.path)
    }

    /// How much of a stream the rows contain; none if their journal is in this file.
    fn stream_position(&self) -> Result<Option<StreamPosition>, StoreError> {
        let failed = self.failed("read");
        let transaction = self.database.begin_read().map_err(|e| failed(e.into()))?;
        codec::read_stream_position(&transaction, &self.path)
    }

    /// The last message of the stream that the rows contain.
    pub(super) fn last_contained_sequence(&self) -> Result<u64, StoreError> {
        Ok(self
            .stream_position()?
            .map_or(0, |contained| contained.sequence))
    }

    /// Whether nothing was ever written.
    fn is_empty(&self) -> Result<bool, StoreError> {
        let failed = self.failed("read");
        let transaction = self.database.begin_read().map_err(|e| failed(e.into()))?;
        let meta = transaction.open_table(META).map_err(|e| failed(e.into()))?;
        let swarm = meta.get(SWARM_KEY).map_err(|e| failed(e.into()))?;
        Ok(swarm.is_none() && self.journal == 0)
    }

    /// Replaces rows by what a stream has up to a sequence, as one transaction.
    pub(super) fn replace(
        &self,
        fold: &LatestChanges,
        (stream, sequence): (&str, u64),
    ) -> Result<(), StoreError> {
        let failed = self.failed("make a checkpoint in");
        let transaction = self.database.begin_write().map_err(|e| failed(e.into()))?;
        self.write_rows(&transaction, fold, |rows| {
            rows.write_stream_position(&StreamPosition {
                stream: stream.to_owned(),
                sequence,
            })
        })?;
        transaction.commit().map_err(|e| failed(e.into()))
    }

    fn write_rows(
        &self,
        transaction: &WriteTransaction,
        fold: &LatestChanges,
        more: impl FnOnce(&mut Rows<'_>) -> Result<(), WriteError>,
    ) -> Result<(), StoreError> {
        let failed = self.failed("make a checkpoint in");
        let mut rows = Rows::open(transaction).map_err(|e| failed(e.into()))?;
        let written = (fold.0.values()).try_for_each(|change| rows.write(change));
        written
            .and_then(|()| more(&mut rows))
            .map_err(|error| match error {
                WriteError::Storage(error) => failed(error.into()),
                WriteError::Encode(error) => self.not_encoded(&error),
            })
    }

    /// Folds the journal's oldest batches into the rows; answers how many changes they were.
    fn fold(&self, transaction: &WriteTransaction, changes: usize) -> Result<usize, StoreError> {
        let failed = self.failed("make a checkpoint in");
        let mut journal = (transaction.open_table(JOURNAL)).map_err(|e| failed(e.into()))?;
        let (mut taken, mut fold) = (0, LatestChanges::default());
        while taken < changes
            && let Some((number, bytes)) = journal.pop_first().map_err(|e| failed(e.into()))?
        {
            let batch: Vec<Change> = codec::decode(bytes.value()).map_err(codec::damaged(
                &self.path,
                "journal",
                number.value(),
            ))?;
            taken += batch.len();
            for change in batch {
                fold.take(change);
            }
        }
        self.write_rows(transaction, &fold, |_| Ok(()))?;
        Ok(taken)
    }

    fn not_encoded(&self, error: &postcard::Error) -> StoreError {
        StoreError::Database {
            action: "encode a change for",
            path: self.path.clone(),
            cause: error.to_string(),
        }
    }
}

impl Store for RedbStore {
    /// A thread of its own reads and decodes, while the caller's applies what was read.
    fn load(
        &mut self,
        each: &mut dyn FnMut(Change) -> Result<(), ReplayError>,
    ) -> Result<(), StoreError> {
        let store = &*self;
        let (read, pieces) = sync_channel(PIECES);
        std::thread::scope(|scope| {
            let reading = scope.spawn(move || store.read(&read));
            for change in pieces.into_iter().flatten() {
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
        if let Err(error) = codec::encode(changes, &mut self.buffer) {
            return Err(self.not_encoded(&error));
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
            let taken = self.fold(&transaction, changes)?;
            transaction.commit().map_err(|e| failed(e.into()))?;
            self.journal -= taken;
        }
        Ok(self.journal)
    }

    fn journal_len(&self) -> usize {
        self.journal
    }
}

/// Makes the data directory for the controller's user alone, if it is missing.
pub(crate) fn create_dir(data_dir: &Path) -> Result<(), StoreError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
        .create(data_dir)
        .map_err(|cause| StoreError::io("create the data directory", data_dir, cause))
}

/// How redb opens the file, and what a start costs.
///
/// After a kill, redb walks the whole file: it verifies every page's checksum and finds the free pages.
/// With a million rows (274 MB) that took 0.3 to 0.7 s, less than reading the rows into memory, which every
/// start does. Quick repair would make it 5 ms, but each append two fsyncs and a copy of the
/// allocator's state instead of one fsync, which is nearly all that an append costs: 7 ms instead of 3.4 ms on
/// a disk whose fsync took 3.5 ms. So it is off. The same walk at every start, killed or not, finds
/// a file that was changed since, which redb would otherwise trust, or panic on.
pub(super) fn builder() -> Builder {
    let mut builder = Database::builder();
    builder
        .set_cache_size(CACHE)
        .set_check_integrity_on_open(true);
    builder
}

/// Opens the file in memory first: one that is damaged, or of another program or format, is refused before
/// anything in it is changed.
fn verify_without_writing(path: &Path) -> Result<(), StoreError> {
    match fs::File::open(path) {
        Ok(file) => open_without_writing(file, path).map(drop),
        // It is made anew, or the open says what is wrong.
        Err(_) => Ok(()),
    }
}

/// Opens a file, in which nothing is changed: what redb writes to it is kept in memory.
pub(super) fn open_without_writing(file: fs::File, path: &Path) -> Result<Database, StoreError> {
    let failed = failed("open", path);
    let shadow = ReadOnlyOverlay::new(file).map_err(&failed)?;
    if shadow.len().map_err(|e| failed(e.into()))? == 0 {
        return Err(StoreError::Foreign {
            path: path.to_owned(),
            cause: "it is empty".to_owned(),
        });
    }
    let database = builder()
        .create_with_backend(shadow)
        .map_err(|e| failed(e.into()))?;
    check_format(&database, path)?;
    Ok(database)
}

pub(super) fn check_format(
    database: &impl ReadableDatabase,
    path: &Path,
) -> Result<(), StoreError> {
    let failed = failed("read", path);
    let transaction = database.begin_read().map_err(|e| failed(e.into()))?;
    let meta = transaction.open_table(META).map_err(|e| failed(e.into()))?;
    let stored = meta.get(FORMAT_KEY).map_err(|e| failed(e.into()))?;
    let found = stored
        .and_then(|bytes| bytes.value().try_into().ok())
        .map(u32::from_le_bytes)
        .ok_or_else(|| StoreError::Foreign {
            path: path.to_owned(),
            cause: "it says no format".to_owned(),
        })?;
    if found == FORMAT {
        Ok(())
    } else {
        Err(StoreError::Format {
            path: path.to_owned(),
            found,
            known: FORMAT,
        })
    }
}

/// Opens a file that was verified a moment ago.
fn open_file(path: &Path) -> Result<Database, StoreError> {
    builder()
        .set_check_integrity_on_open(false)
        .open(path)
        .map_err(|error| failed("open", path)(error.into()))
}

/// Makes an empty store, whole under another name before it gets its own: a crash leaves no half of
/// one, so a file that says no format is never a new store, but a damaged or a foreign one.
fn create_file(path: &Path) -> Result<Database, StoreError> {
    match StagedStore::beside(path)?.seal()?.link(path) {
        // Another controller was quicker.
        Err(StoreError::Io { cause, .. }) if cause.kind() == io::ErrorKind::AlreadyExists => {}
        linked => linked?,
    }
    open_file(path)
}

/// Makes the tables, empty, in one transaction with the format.
pub(super) fn make_tables(database: &Database, path: &Path) -> Result<(), StoreError> {
    let failed = failed("create", path);
    let transaction = database.begin_write().map_err(|e| failed(e.into()))?;
    transaction
        .open_table(JOURNAL)
        .map_err(|e| failed(e.into()))?;
    Rows::open(&transaction)
        .map_err(|e| failed(e.into()))?
        .write_format()
        .map_err(|e| failed(e.into()))?;
    transaction.commit().map_err(|e| failed(e.into()))
}

/// For `map_err`: what redb says about a file.
pub(super) fn failed(
    action: &'static str,
    path: &Path,
) -> impl Fn(::redb::Error) -> StoreError + use<> {
    let path = path.to_owned();
    move |error| StoreError::redb(action, &path, error)
}
