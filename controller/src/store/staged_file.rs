//! A store that is written whole under a name of its own, and only then gets the one that it is for. Whatever ends it
//! before removes it (but a kill of the process).

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ::redb::backends::FileBackend;
use ::redb::{Database, Durability};
use uuid::Uuid;

use crate::store::StoreError;
use crate::store::codec::{self, JOURNAL, Rows, StreamPosition, WriteError};
use crate::store::redb::{FILE_NAME, builder, create_dir, failed, make_tables};
use crate::store::snapshot::StoredValue;

/// How many bytes of records are written in one transaction: enough that the pages above the rows are written seldom,
/// few enough to be held in memory.
const TRANSACTION: usize = 4 << 20;

/// A store that is being written.
#[derive(Debug)]
pub struct StagedStore {
    database: Database,
    file: StagedFile,
    waiting: Vec<StoredValue>,
    /// Bytes of those that wait.
    bytes: usize,
    /// The number of the next journal record.
    next: u64,
    buffer: Vec<u8>,
}

impl StagedStore {
    /// Begins one in the directory of `target`, for its owner alone.
    ///
    /// # Errors
    /// No file can be made there.
    pub fn beside(target: &Path) -> Result<Self, StoreError> {
        let (file, opened) = StagedFile::beside(target)?;
        let failed = failed("create", &file.path);
        let backend = FileBackend::new(opened).map_err(|e| failed(e.into()))?;
        let database = builder().create_with_backend(backend);
        let database = database.map_err(|e| failed(e.into()))?;
        make_tables(&database, &file.path)?;
        Ok(Self {
            database,
            file,
            waiting: Vec::new(),
            bytes: 0,
            next: 0,
            buffer: Vec::new(),
        })
    }

    /// Writes how much of a stream the rows contain.
    ///
    /// # Errors
    /// The disk refuses.
    pub(super) fn set_stream_position(
        &mut self,
        contained: &StreamPosition,
    ) -> Result<(), StoreError> {
        let failed = failed("write to", &self.file.path);
        let transaction = self.database.begin_write();
        let transaction = transaction.map_err(|e| failed(e.into()))?;
        let mut rows = Rows::open(&transaction).map_err(|e| failed(e.into()))?;
        let written = rows.write_stream_position(contained);
        written.map_err(|error| self.refused(error))?;
        drop(rows);
        transaction.commit().map_err(|e| failed(e.into()))
    }

    fn refused(&self, error: WriteError) -> StoreError {
        match error {
            WriteError::Storage(error) => failed("write to", &self.file.path)(error.into()),
            WriteError::Encode(error) => {
                let cause = io::Error::new(io::ErrorKind::InvalidData, error.to_string());
                StoreError::io("encode a change for", &self.file.path, cause)
            }
        }
    }

    /// Writes a record at the end, which takes about so many bytes; rows come before the journal.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn put(&mut self, record: StoredValue, bytes: usize) -> Result<(), StoreError> {
        self.bytes += bytes;
        self.waiting.push(record);
        if self.bytes < TRANSACTION {
            return Ok(());
        }
        self.write(Durability::None)
    }

    /// Makes all of it durable, under its own name still.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn seal(mut self) -> Result<StagedFile, StoreError> {
        self.write(Durability::Immediate)?;
        let failed = failed("write to", &self.file.path);
        self.database.close().map_err(|e| failed(e.into()))?;
        Ok(self.file)
    }

    fn write(&mut self, durability: Durability) -> Result<(), StoreError> {
        let failed = failed("write to", &self.file.path);
        let not_encoded = |error: &postcard::Error| {
            let cause = io::Error::new(io::ErrorKind::InvalidData, error.to_string());
            StoreError::io("encode a change for", &self.file.path, cause)
        };
        let transaction = self.database.begin_write();
        let mut transaction = transaction.map_err(|e| failed(e.into()))?;
        let durable = transaction.set_durability(durability);
        durable.map_err(|e| failed(e.into()))?;
        {
            let mut rows = Rows::open(&transaction).map_err(|e| failed(e.into()))?;
            let journal = transaction.open_table(JOURNAL);
            let mut journal = journal.map_err(|e| failed(e.into()))?;
            for record in self.waiting.drain(..) {
                match record {
                    StoredValue::Row(change) => {
                        rows.write(&change).map_err(|error| match error {
                            WriteError::Storage(error) => failed(error.into()),
                            WriteError::Encode(error) => not_encoded(&error),
                        })?
                    }
                    StoredValue::Batch(changes) => {
                        let encoded = codec::encode(&changes, &mut self.buffer);
                        let bytes = encoded.map_err(|error| not_encoded(&error))?;
                        let inserted = journal.insert(self.next, bytes);
                        inserted.map_err(|e| failed(e.into()))?;
                        self.next += 1;
                    }
                }
            }
        }
        transaction.commit().map_err(|e| failed(e.into()))?;
        self.bytes = 0;
        Ok(())
    }
}

/// A file under a name of its own: removed when dropped, unless it has got another.
#[derive(Debug)]
pub struct StagedFile {
    path: PathBuf,
}

impl StagedFile {
    /// Makes one, empty, for its owner alone, in the directory of `target`.
    fn beside(target: &Path) -> Result<(Self, File), StoreError> {
        let mut name = OsString::from(".");
        name.push(target.file_name().unwrap_or_default());
        name.push(format!(".{}.partial", Uuid::now_v7()));
        let draft = Self {
            path: target.with_file_name(name),
        };
        let opened = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&draft.path)
            .map_err(|cause| StoreError::io("create", target, cause))?;
        Ok((draft, opened))
    }

    /// Makes one for the store of a data directory; makes that, too, if it is missing.
    ///
    /// # Errors
    /// No file can be made there.
    pub fn create(data_dir: &Path) -> Result<(Self, File), StoreError> {
        create_dir(data_dir)?;
        Self::beside(&data_dir.join(FILE_NAME))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it the name that it is for, in place of whatever has it.
    ///
    /// # Errors
    /// The directory refuses.
    pub fn replace(self, target: &Path) -> Result<(), StoreError> {
        let renamed = fs::rename(&self.path, target);
        renamed.map_err(|cause| StoreError::io("create", target, cause))?;
        sync_directory(target)
    }

    /// Gives it the name that it is for, unless something has that.
    ///
    /// # Errors
    /// The name is taken ([`io::ErrorKind::AlreadyExists`]), or the directory refuses.
    pub fn link(self, target: &Path) -> Result<(), StoreError> {
        let linked = fs::hard_link(&self.path, target);
        linked.map_err(|cause| StoreError::io("create", target, cause))?;
        drop(self);
        sync_directory(target)
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        // Renamed, it is not there any more; else whatever went wrong is what the operator must hear.
        let _ = fs::remove_file(&self.path);
    }
}

/// Makes a file's name durable.
fn sync_directory(file: &Path) -> Result<(), StoreError> {
    let parent = file
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let directory = parent.unwrap_or(Path::new("."));
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(|cause| StoreError::io("create a file in", directory, cause))
}
