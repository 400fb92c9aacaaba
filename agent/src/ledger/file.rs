//! Where a ledger's bytes are: few verbs, each durable when it returns, and the file in a directory that
//! keeps them. What the bytes mean is not known here. The simulation has a file of its own, which loses power.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::LedgerError;

pub(super) const FILE: &str = "ledger.jsonl";
pub(super) const NEW_FILE: &str = "ledger.jsonl.new";
const LOCK_FILE: &str = "ledger.lock";

/// What a ledger asks of a file. After an error it is not known what the file holds, so it is not to be used again.
pub trait LedgerFile: Debug + Send + 'static {
    /// All that it holds.
    ///
    /// # Errors
    /// It cannot be read.
    fn read(&mut self) -> io::Result<Vec<u8>>;

    /// Appends, and waits until that is durable.
    ///
    /// # Errors
    /// All of it, a part or nothing was appended.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Cuts off what is beyond this length, and waits until that is durable.
    ///
    /// # Errors
    /// It may be cut or not.
    fn cut(&mut self, length: u64) -> io::Result<()>;

    /// Replaces all that it holds in one stroke, and waits until that is durable.
    ///
    /// # Errors
    /// It holds what it held, or all that is new.
    fn replace(&mut self, bytes: &[u8]) -> io::Result<()>;
}

/// A file in a directory, which is one process's alone until this is dropped.
#[derive(Debug)]
pub struct DirectoryFile {
    directory: PathBuf,
    path: PathBuf,
    file: Option<File>,
    // Held open: closing it gives the lock back.
    _lock: File,
}

impl DirectoryFile {
    /// Makes the directory if it is missing, and takes it.
    pub(super) fn take(directory: &Path) -> Result<Self, LedgerError> {
        fs::create_dir_all(directory)
            .map_err(LedgerError::io("create the directory of", directory))?;
        let lock = lock(&directory.join(LOCK_FILE))?;
        Ok(Self {
            directory: directory.to_owned(),
            path: directory.join(FILE),
            file: None,
            _lock: lock,
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

    fn cut(&mut self, length: u64) -> io::Result<()> {
        let file = self.file()?;
        file.set_len(length)?;
        file.sync_all()
    }

    /// Writes a whole copy beside the old one, then puts it in its place.
    fn replace(&mut self, bytes: &[u8]) -> io::Result<()> {
        let new = self.directory.join(NEW_FILE);
        let mut file = File::create(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, &self.path)?;
        self.file = None;
        File::open(&self.directory)?.sync_all()
    }
}

fn lock(path: &Path) -> Result<File, LedgerError> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(LedgerError::io("open the lock of", path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LedgerError::InUse {
            path: path.to_owned(),
        }),
        Err(TryLockError::Error(cause)) => Err(LedgerError::io("lock", path)(cause)),
    }
}
