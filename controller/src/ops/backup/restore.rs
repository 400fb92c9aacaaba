//! `restore FILE`: installs a backup as the store of a data directory that has no store.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};

use scuttle_core::record::restore::RaisedRevisions;
use scuttle_core::{Change, Meta, RowCounts};
use scuttle_schemas::Timestamp;

use crate::ops::backup::Interrupt;
use crate::ops::backup::create::{connect, verify};
use crate::ops::backup::error::BackupError;
use crate::store::{FILE_NAME, Snapshot, StagedFile, StagedStore, StoreError, create_dir};

/// The summary of a restore.
#[derive(Debug)]
pub struct RestoredStore {
    pub store: PathBuf,
    pub content: RowCounts,
    /// Whether the data directory was created.
    pub is_new_directory: bool,
}

impl fmt::Display for RestoredStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.store.display(), self.content)?;
        if self.is_new_directory {
            write!(f, "; created the data directory")?;
        }
        write!(f, "; now start the controller")
    }
}

/// Creates the store of a data directory from a backup. Reads and verifies the whole backup before
/// anything is written. On failure, the data directory is unchanged.
///
/// All revisions are raised, based on `now`, so that subscribers do not take a restored record for
/// an outdated one.
///
/// # Errors
/// - If a controller is running on the data directory, or a store exists there.
/// - If the backup cannot be read, or holds only part of the record.
/// - If the store cannot be written or verified.
/// - If the operator cancels the restore.
pub fn restore(
    data_dir: &Path,
    file: &Path,
    now: Timestamp,
    interrupt: &Interrupt,
) -> Result<RestoredStore, BackupError> {
    let store = data_dir.join(FILE_NAME);
    // A running controller continues to use its store even if the file was moved away.
    if connect(data_dir)?.is_some() {
        return Err(BackupError::Running(data_dir.to_owned()));
    }
    if fs::symlink_metadata(&store).is_ok() {
        return Err(BackupError::StoreExists(store));
    }
    let not_restorable = BackupError::not_restorable(file);
    let backup = Snapshot::open_file(file).map_err(|error| not_restorable(error.into()))?;
    if let Some(stream) = backup.stream()? {
        let path = file.to_owned();
        return Err(not_restorable(BackupError::OnlyRows { path, stream }));
    }
    let mut last = Meta::default();
    let read = backup.load(|change| {
        if let Change::Meta(meta) = change {
            last = *meta;
        }
        interrupt.check()
    });
    read.map_err(not_restorable)?;

    let raised = RaisedRevisions::new(last.revisions, now);
    let is_new = !data_dir.exists();
    let placed = place(&backup, raised, data_dir, &store, interrupt);
    if placed.is_err() && is_new {
        // The removal fails, and keeps the directory, if the directory is not empty.
        let _ = fs::remove_dir(data_dir);
    }
    let content = placed?;
    Ok(RestoredStore {
        store,
        content,
        is_new_directory: is_new,
    })
}

fn place(
    backup: &Snapshot,
    raised: RaisedRevisions,
    data_dir: &Path,
    store: &Path,
    interrupt: &Interrupt,
) -> Result<RowCounts, BackupError> {
    let write_failed = BackupError::write_failed(store);
    create_dir(data_dir).map_err(&write_failed)?;
    let mut staged = StagedStore::create_for(store).map_err(&write_failed)?;
    backup.for_each_value(|value, bytes| {
        interrupt.check()?;
        let value = value.map(|change| raised.apply_to(change));
        staged.push(value, bytes).map_err(&write_failed)
    })?;
    let staged = staged.finish().map_err(&write_failed)?;
    let content = verify(&staged, store, interrupt)?;
    set_owner(&staged, data_dir).map_err(|cause| BackupError::Write {
        path: store.to_owned(),
        cause: format!("cannot make the owner of the data directory its owner: {cause}"),
    })?;
    match staged.link(store) {
        Err(StoreError::Io { cause, .. }) if cause.kind() == io::ErrorKind::AlreadyExists => {
            Err(BackupError::StoreExists(store.to_owned()))
        }
        linked => linked.map(|()| content).map_err(write_failed),
    }
}

/// Sets the owner and group of the file to those of the data directory, so that the controller can
/// write to a store that root has restored.
fn set_owner(staged: &StagedFile, data_dir: &Path) -> io::Result<()> {
    let (directory, file) = (fs::metadata(data_dir)?, fs::metadata(staged.path())?);
    if (directory.uid(), directory.gid()) == (file.uid(), file.gid()) {
        return Ok(());
    }
    chown(staged.path(), Some(directory.uid()), Some(directory.gid()))
}
