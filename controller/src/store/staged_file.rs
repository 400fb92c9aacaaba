//! Atomic creation or replacement of a store file: the store is written completely under a
//! temporary name and then renamed. If writing fails, the temporary file is removed. A temporary
//! file is left only if the process is killed.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ::redb::backends::FileBackend;
use ::redb::{Database, Durability};
use uuid::Uuid;

use crate::store::disk_format::{self, JOURNAL, Rows, WriteError};
use crate::store::error::StoreError;
use crate::store::format_version::{KnownStream, StreamPosition};
use crate::store::redb::database::{FILE_NAME, builder, create_dir, failed, make_tables};
use crate::store::snapshot::StoredValue;

/// The number of bytes that one transaction writes. The number is large enough that the inner pages
/// of the tables are rarely rewritten, and small enough to keep the bytes in memory.
const TRANSACTION_SIZE: usize = 4 << 20;

/// A store that is being written under a temporary name.
#[derive(Debug)]
pub struct StagedStore {
    database: Database,
    file: StagedFile,
    pending: Vec<StoredValue>,
    pending_bytes: usize,
    /// The number of the next journal record.
    next: u64,
    buffer: Vec<u8>,
}

impl StagedStore {
    /// Creates an empty store under a temporary name, in the directory of `target` and readable
    /// only by its owner.
    ///
    /// # Errors
    /// If the temporary file cannot be created or written.
    pub fn create_for(target: &Path) -> Result<Self, StoreError> {
        let (file, opened) = StagedFile::create_for(target)?;
        let failed = failed("create", &file.path);
        let backend = FileBackend::new(opened).map_err(|e| failed(e.into()))?;
        let database = builder().create_with_backend(backend);
        let database = database.map_err(|e| failed(e.into()))?;
        make_tables(&database, &file.path)?;
        Ok(Self {
            database,
            file,
            pending: Vec::new(),
            pending_bytes: 0,
            next: 0,
            buffer: Vec::new(),
        })
    }

    /// Records the stream position that the rows reflect, and the stream, if it is known.
    pub(super) fn set_stream_position(
        &mut self,
        position: &StreamPosition,
        known: Option<&KnownStream>,
    ) -> Result<(), StoreError> {
        let failed = failed("write to", &self.file.path);
        let transaction = self.database.begin_write();
        let transaction = transaction.map_err(|e| failed(e.into()))?;
        let mut rows = Rows::open(&transaction).map_err(|e| failed(e.into()))?;
        let written = rows.write_stream_position(position, known);
        written.map_err(write_failed(&self.file.path))?;
        drop(rows);
        transaction.commit().map_err(|e| failed(e.into()))
    }

    /// Adds a value whose encoding takes about `bytes` bytes. Rows must come before the journal.
    pub fn push(&mut self, value: StoredValue, bytes: usize) -> Result<(), StoreError> {
        self.pending_bytes += bytes;
        self.pending.push(value);
        if self.pending_bytes < TRANSACTION_SIZE {
            return Ok(());
        }
        self.write(Durability::None)
    }

    /// Writes the remaining values and makes the store durable. Returns its file, which still has
    /// the temporary name.
    pub fn finish(mut self) -> Result<StagedFile, StoreError> {
        self.write(Durability::Immediate)?;
        let failed = failed("write to", &self.file.path);
        self.database.close().map_err(|e| failed(e.into()))?;
        Ok(self.file)
    }

    fn write(&mut self, durability: Durability) -> Result<(), StoreError> {
        let failed = failed("write to", &self.file.path);
        let write_failed = write_failed(&self.file.path);
        let transaction = self.database.begin_write();
        let mut transaction = transaction.map_err(|e| failed(e.into()))?;
        let durable = transaction.set_durability(durability);
        durable.map_err(|e| failed(e.into()))?;
        {
            let mut rows = Rows::open(&transaction).map_err(|e| failed(e.into()))?;
            let journal = transaction.open_table(JOURNAL);
            let mut journal = journal.map_err(|e| failed(e.into()))?;
            for value in self.pending.drain(..) {
                match value {
                    StoredValue::Row(change) => {
                        rows.write(&change).map_err(&write_failed)?;
                    }
                    StoredValue::Batch(changes) => {
                        let encoded = disk_format::encode(&changes, &mut self.buffer);
                        let bytes = encoded.map_err(|error| write_failed(error.into()))?;
                        let inserted = journal.insert(self.next, bytes);
                        inserted.map_err(|e| failed(e.into()))?;
                        self.next += 1;
                    }
                }
            }
        }
        transaction.commit().map_err(|e| failed(e.into()))?;
        self.pending_bytes = 0;
        Ok(())
    }
}

/// A file under a temporary name. Dropping this value removes the file, unless the file was renamed
/// before.
#[derive(Debug)]
pub struct StagedFile {
    path: PathBuf,
}

impl StagedFile {
    /// Creates an empty file under a temporary name, in the directory of `target` and readable only
    /// by its owner.
    fn create_for(target: &Path) -> Result<(Self, File), StoreError> {
        let mut name = OsString::from(".");
        name.push(target.file_name().unwrap_or_default());
        name.push(format!(".{}.partial", Uuid::now_v7()));
        let staged = Self {
            path: target.with_file_name(name),
        };
        let opened = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&staged.path)
            .map_err(|cause| StoreError::io("create", target, cause))?;
        Ok((staged, opened))
    }

    /// Creates an empty file in a data directory, under a temporary name. Creates the directory if
    /// it is missing.
    ///
    /// # Errors
    /// If the directory or the file cannot be created.
    pub fn create_in(data_dir: &Path) -> Result<(Self, File), StoreError> {
        create_dir(data_dir)?;
        Self::create_for(&data_dir.join(FILE_NAME))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Renames the file to `target`, replacing any existing file, and makes the change durable.
    pub fn replace(self, target: &Path) -> Result<(), StoreError> {
        let renamed = fs::rename(&self.path, target);
        renamed.map_err(|cause| StoreError::io("create", target, cause))?;
        sync_directory(target)
    }

    /// Gives the file the name `target`, unless a file with this name exists, and makes the change
    /// durable.
    ///
    /// # Errors
    /// If the name is taken ([`io::ErrorKind::AlreadyExists`]) or the directory cannot be written
    /// or synced.
    pub fn link(self, target: &Path) -> Result<(), StoreError> {
        let linked = fs::hard_link(&self.path, target);
        linked.map_err(|cause| StoreError::io("create", target, cause))?;
        drop(self);
        sync_directory(target)
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        // After a rename the file is gone. Otherwise the error that led here is the one to report.
        let _ = fs::remove_file(&self.path);
    }
}

/// Returns a function for `map_err` that turns a failed write into a [`StoreError`] with the file.
fn write_failed(path: &Path) -> impl Fn(WriteError) -> StoreError {
    let path = path.to_owned();
    move |error| match error {
        WriteError::Storage(error) => failed("write to", &path)(error.into()),
        WriteError::Encode(error) => {
            let cause = io::Error::new(io::ErrorKind::InvalidData, error.to_string());
            StoreError::io("encode a change for", &path, cause)
        }
    }
}

/// Makes the name of a file durable by syncing its directory.
fn sync_directory(file: &Path) -> Result<(), StoreError> {
    let parent = file
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let directory = parent.unwrap_or(Path::new("."));
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(|cause| StoreError::io("create a file in", directory, cause))
}
