//! `backup FILE`: copies the content of a store to a temporary file, and verifies the file before
//! renaming it to `FILE`.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use scuttle_core::RowCounts;
use scuttle_schemas::PartitionCount;

use crate::ops::backup::Interrupt;
use crate::ops::backup::error::BackupError;
use crate::ops::backup::protocol::{self, Frame};
use crate::ops::backup::server::{SOCKET_NAME, path_through};
use crate::partition::assignment::PartitionAssignment;
use crate::store::format_version::FORMAT;
use crate::store::snapshot::StoredValue;
use crate::store::{FILE_NAME, FullExport, Snapshot, StagedFile, StagedStore, StoreError};

/// The maximum time to wait for more data from the controller. It only has to read its disk, so a
/// longer silence means that it is stuck.
const READ_TIMEOUT: Duration = Duration::from_mins(1);

/// The number of bytes to read between two checks for a cancellation.
const CHUNK_SIZE: u64 = 1 << 20;

/// The summary of a backup that was created.
#[derive(Debug)]
pub struct CreatedBackup {
    pub file: PathBuf,
    pub content: RowCounts,
    /// The size of the file in bytes.
    pub bytes: u64,
    /// Whether a running controller sent the content. Otherwise, the file of a stopped controller
    /// was read.
    pub from_running: bool,
    pub duration: Duration,
}

impl fmt::Display for CreatedBackup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = if self.from_running {
            "the running controller"
        } else {
            "the store of a stopped controller"
        };
        write!(
            f,
            "{}: {}; {} bytes, in {:.1} s, from {from}",
            self.file.display(),
            self.content,
            self.bytes,
            self.duration.as_secs_f64()
        )
    }
}

/// Backs up the store of a data directory, from the running controller or from the file of a
/// stopped one. On failure, no new file is left.
///
/// # Errors
/// - If the store is missing, cannot be read, or holds only part of the record.
/// - If the running controller rejects the backup, has another version, or stops sending.
/// - If `file` is the store itself, exists (unless `force`), cannot be written, or fails the
///   verification.
/// - If the operator cancels the backup.
pub fn create(
    data_dir: &Path,
    file: &Path,
    force: bool,
    interrupt: &Interrupt,
) -> Result<CreatedBackup, BackupError> {
    let start = Instant::now();
    reject_existing(file, force)?;
    reject_store(data_dir, file)?;
    let (staged, from_running) = match &*find_partition_dirs(data_dir) {
        [] => copy_store(data_dir, file, interrupt)?,
        partitions => merge_partitions(partitions, file, interrupt)?,
    };
    let content = verify(&staged, file, interrupt)?;
    let bytes = fs::metadata(staged.path()).map_or(0, |data| data.len());
    // Another process may have created the file since the first check.
    reject_existing(file, force)?;
    staged
        .replace(file)
        .map_err(BackupError::write_failed(file))?;
    Ok(CreatedBackup {
        file: file.to_owned(),
        content,
        bytes,
        from_running,
        duration: start.elapsed(),
    })
}

/// Copies the store of a directory to a temporary file next to `file`. The returned flag is true if
/// a running controller sent the content.
fn copy_store(
    data_dir: &Path,
    file: &Path,
    interrupt: &Interrupt,
) -> Result<(StagedFile, bool), BackupError> {
    Ok(match connect(data_dir)? {
        Some(stream) => (from_controller(&stream, data_dir, file, interrupt)?, true),
        None => (from_file(data_dir, file, interrupt)?, false),
    })
}

/// Copies the stores of all partitions into one store. Each copy shows its partition as of one
/// commit, but the copies are not made at the same moment.
fn merge_partitions(
    data_dirs: &[PathBuf],
    file: &Path,
    interrupt: &Interrupt,
) -> Result<(StagedFile, bool), BackupError> {
    let mut all = Vec::new();
    for directory in data_dirs {
        let (staged, _) = copy_store(directory, file, interrupt)?;
        all.push(FullExport::read(&Snapshot::open_file(staged.path())?)?);
    }
    let written = FullExport::merge(all).write(file, None);
    Ok((written.map_err(BackupError::write_failed(file))?, true))
}

/// Returns the directories of the partitions in a controller's data directory. The list is empty if
/// the hosts are not divided into partitions.
fn find_partition_dirs(data_dir: &Path) -> Vec<PathBuf> {
    let partitions = PartitionCount::MAX;
    let assignments = partitions.iter().map(|partition| PartitionAssignment {
        partition,
        partitions,
    });
    let directories = assignments.map(|assignment| assignment.data_dir(data_dir));
    directories
        .filter(|path| path.join(FILE_NAME).is_file())
        .collect()
}

fn reject_existing(file: &Path, force: bool) -> Result<(), BackupError> {
    if force || fs::symlink_metadata(file).is_err() {
        return Ok(());
    }
    Err(BackupError::Exists(file.to_owned()))
}

/// Returns an error if the backup file is the store itself. Otherwise, a running controller would
/// continue to write to the replaced file, and all later changes would be lost.
fn reject_store(data_dir: &Path, file: &Path) -> Result<(), BackupError> {
    let identity = |path: &Path| fs::metadata(path).map(|data| (data.dev(), data.ino())).ok();
    let store = identity(&data_dir.join(FILE_NAME));
    if store.is_some() && store == identity(file) {
        return Err(BackupError::IsStore(file.to_owned()));
    }
    Ok(())
}

/// Reads a written store as a starting controller would, and returns its row counts. Errors show
/// `file` as its path.
pub(crate) fn verify(
    staged: &StagedFile,
    file: &Path,
    interrupt: &Interrupt,
) -> Result<RowCounts, BackupError> {
    let snapshot = Snapshot::open_file(staged.path()).map_err(BackupError::Store);
    let loaded = snapshot.and_then(|snapshot| snapshot.load(|_| interrupt.check()));
    let state = loaded.map_err(BackupError::verification_failed(file))?;
    Ok(state.row_counts())
}

/// Connects to the controller that runs on a data directory. Returns `None` if none is running.
pub(crate) fn connect(data_dir: &Path) -> Result<Option<UnixStream>, BackupError> {
    let path = data_dir.join(SOCKET_NAME);
    let connected = File::open(data_dir)
        .and_then(|directory| UnixStream::connect(path_through(&directory, SOCKET_NAME)));
    match connected {
        Ok(stream) => Ok(Some(stream)),
        // No process listens: no controller was started, or it was killed.
        Err(error) if means_absent(error.kind()) => Ok(None),
        Err(cause) => Err(BackupError::Connect { path, cause }),
    }
}

fn means_absent(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::ConnectionRefused
    )
}

/// Reads the complete backup into memory before a store is made of it, so that the controller can
/// release the snapshot and reuse freed pages as early as possible. The verification needs even
/// more memory.
fn receive(mut stream: &UnixStream, interrupt: &Interrupt) -> Result<Vec<u8>, BackupError> {
    let timeout = stream.set_read_timeout(Some(READ_TIMEOUT));
    timeout.map_err(BackupError::Transfer)?;
    let mut all = Vec::new();
    loop {
        interrupt.check()?;
        let read = stream.by_ref().take(CHUNK_SIZE).read_to_end(&mut all);
        if read.map_err(transfer_failed)? == 0 {
            return Ok(all);
        }
    }
}

fn from_controller(
    stream: &UnixStream,
    data_dir: &Path,
    file: &Path,
    interrupt: &Interrupt,
) -> Result<StagedFile, BackupError> {
    let all = receive(stream, interrupt)?;
    let from = &mut all.as_slice();
    let found = protocol::read_greeting(from).map_err(transfer_failed)?;
    if found != FORMAT {
        let known = FORMAT;
        return Err(BackupError::OtherVersion { found, known });
    }
    let write_failed = BackupError::write_failed(file);
    let mut staged = StagedStore::create_for(file).map_err(&write_failed)?;
    let store = data_dir.join(FILE_NAME);
    let (mut values, mut buffer) = (0, Vec::new());
    loop {
        interrupt.check()?;
        match protocol::read_frame(from, &mut buffer).map_err(transfer_failed)? {
            Frame::Value(table) => {
                values += 1;
                let value = StoredValue::decode(table, &buffer, values, &store)?;
                staged.push(value, buffer.len()).map_err(&write_failed)?;
            }
            Frame::End(count) if count == values => return staged.finish().map_err(write_failed),
            Frame::End(count) => {
                let missing = format!("received {values} of {count} values");
                return Err(BackupError::Transfer(io::Error::other(missing)));
            }
            Frame::Rejected(reason) => return Err(BackupError::Rejected(reason)),
        }
    }
}

fn transfer_failed(error: io::Error) -> BackupError {
    let error = match error.kind() {
        io::ErrorKind::UnexpectedEof => io::Error::other("the controller stopped"),
        io::ErrorKind::WouldBlock => io::Error::other("the controller stopped sending data"),
        _ => error,
    };
    BackupError::Transfer(error)
}

fn from_file(
    data_dir: &Path,
    file: &Path,
    interrupt: &Interrupt,
) -> Result<StagedFile, BackupError> {
    let path = data_dir.join(FILE_NAME);
    let snapshot = match Snapshot::open_file(&path) {
        Err(StoreError::Io { cause, .. }) if means_absent(cause.kind()) => {
            return Err(BackupError::NoStore(path));
        }
        Err(StoreError::InUse { path }) => return Err(BackupError::NotServed(path)),
        opened => opened?,
    };
    if let Some(stream) = snapshot.stream()? {
        return Err(BackupError::OnlyRows { path, stream });
    }
    let write_failed = BackupError::write_failed(file);
    let mut staged = StagedStore::create_for(file).map_err(&write_failed)?;
    snapshot.for_each_value(|value, bytes| {
        interrupt.check()?;
        staged.push(value, bytes).map_err(&write_failed)
    })?;
    staged.finish().map_err(write_failed)
}
