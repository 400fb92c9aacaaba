//! The file operations that a ledger needs, and their implementation in a locked directory. The
//! format of the content is in `line_format`. The simulation has a separate implementation, which
//! simulates power failures.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::error::LedgerError;
use crate::private_directory::{self, is_at};
use crate::replace_file::replace_file;

pub(super) const FILE: &str = "ledger.jsonl";
pub(super) const NEW_FILE: &str = "ledger.jsonl.new";
const LOCK_FILE: &str = "ledger.lock";

/// The file operations that a ledger needs. After an error, the content of the file is unknown, and
/// the file must not be used again.
pub trait LedgerFile: Debug + Send + 'static {
    /// Returns the whole content of the file.
    fn read(&mut self) -> io::Result<Vec<u8>>;

    /// Appends bytes and makes them durable.
    ///
    /// # Errors
    /// If the bytes could not be made durable. All, some or none of them were appended.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Truncates the file to `length` bytes, and makes the new length durable.
    fn truncate(&mut self, length: u64) -> io::Result<()>;

    /// Replaces the whole content of the file atomically, and makes the new content durable.
    ///
    /// # Errors
    /// If the content could not be replaced. The file then has either the old content or the new
    /// one.
    fn replace(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Returns whether the file, its directory and the lock file are still where a restarted agent
    /// would look for them.
    fn is_in_place(&mut self) -> io::Result<bool> {
        Ok(true)
    }

    /// Recreates the directory and the lock file if they are missing. The caller must then call
    /// `replace`.
    ///
    /// # Errors
    /// If the directory or its files cannot be created, or another process has locked the
    /// directory.
    fn recreate(&mut self) -> Result<(), LedgerError> {
        Ok(())
    }
}

/// The ledger file in a directory that is locked until this value is dropped.
#[derive(Debug)]
pub struct DirectoryFile {
    directory: PathBuf,
    path: PathBuf,
    file: Option<File>,
    // Closing the file releases the lock.
    lock: File,
}

impl DirectoryFile {
    /// Creates a directory if it is missing, and locks it. Fails if another process holds the lock.
    pub(super) fn lock(directory: &Path) -> Result<Self, LedgerError> {
        private_directory::create(directory)
            .map_err(LedgerError::io("create the directory of", directory))?;
        let lock = lock_file(&directory.join(LOCK_FILE))?;
        Ok(Self {
            directory: directory.to_owned(),
            path: directory.join(FILE),
            file: None,
            lock,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn exists(&self) -> io::Result<bool> {
        self.path.try_exists()
    }

    fn file(&mut self) -> io::Result<&mut File> {
        if self.file.is_none() {
            self.file = Some(OpenOptions::new().append(true).open(&self.path)?);
        }
        self.file
            .as_mut()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl LedgerFile for DirectoryFile {
    fn read(&mut self) -> io::Result<Vec<u8>> {
        fs::read(&self.path)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let file = self.file()?;
        file.write_all(bytes)?;
        file.sync_data()
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        let file = self.file()?;
        file.set_len(length)?;
        file.sync_all()
    }

    fn replace(&mut self, bytes: &[u8]) -> io::Result<()> {
        // After the replacement, the open handle would still refer to the old file.
        self.file = None;
        replace_file(&self.directory, FILE, NEW_FILE, bytes)
    }

    fn is_in_place(&mut self) -> io::Result<bool> {
        let path = self.path.clone();
        let is_file_in_place = match self.file() {
            Ok(file) => is_at(file, &path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        Ok(is_file_in_place && is_at(&self.lock, &self.directory.join(LOCK_FILE))?)
    }

    fn recreate(&mut self) -> Result<(), LedgerError> {
        private_directory::create(&self.directory)
            .map_err(LedgerError::io("create the directory of", &self.directory))?;
        let lock = self.directory.join(LOCK_FILE);
        if !is_at(&self.lock, &lock).map_err(LedgerError::io("look for", &lock))? {
            self.lock = lock_file(&lock)?;
        }
        Ok(())
    }
}

fn lock_file(path: &Path) -> Result<File, LedgerError> {
    let file = private_directory::open_file(path, false)
        .map_err(LedgerError::io("open the lock file of", path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LedgerError::InUse {
            path: path.to_owned(),
        }),
        Err(TryLockError::Error(cause)) => Err(LedgerError::io("lock", path)(cause)),
    }
}
