//! `restore FILE`: a backup into a data directory that has no store, as the store of its next start.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};

use scuttle_core::{Change, Meta, RaisedRevisions};
use scuttle_schemas::Timestamp;

use crate::ops::backup::make::{check, connect};
use crate::ops::backup::{BackupError, Content, Interrupt};
use crate::store::{FILE_NAME, Snapshot, StagedFile, StagedStore, StoreError, create_dir};

/// A backup that was restored.
#[derive(Debug)]
pub struct Restored {
    /// The store that was made of it.
    pub store: PathBuf,
    /// What is in it.
    pub content: Content,
}

impl fmt::Display for Restored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}; start the controller",
            self.store.display(),
            self.content
        )
    }
}

/// Makes the store of a data directory from a backup. The backup is read whole before anything is written.
///
/// # Errors
/// A controller runs there, there is a store, the backup cannot be read, or the store not be written. Then all is as it
/// was.
pub fn restore(
    data_dir: &Path,
    file: &Path,
    now: Timestamp,
    interrupt: &Interrupt,
) -> Result<Restored, BackupError> {
    let store = data_dir.join(FILE_NAME);
    // It might have had its store taken away, and go on with it.
    if connect(data_dir)?.is_some() {
        return Err(BackupError::Running(data_dir.to_owned()));
    }
    if fs::symlink_metadata(&store).is_ok() {
        return Err(BackupError::StoreExists(store));
    }
    let unfit = BackupError::unfit(file);
    let backup = Snapshot::open_file(file).map_err(|error| unfit(error.into()))?;
    if let Some(stream) = backup.stream()? {
        let path = file.to_owned();
        return Err(unfit(BackupError::OnlyRows { path, stream }));
    }
    let mut last = Meta::default();
    let read = backup.load(|change| {
        if let Change::Meta(meta) = change {
            last = *meta;
        }
        interrupt.check()
    });
    read.map_err(unfit)?;

    let raised = RaisedRevisions::new(last.revisions, now);
    let new = !data_dir.exists();
    let placed = place(&backup, raised, data_dir, &store, interrupt);
    if placed.is_err() && new {
        // Whatever else is in it keeps it.
        let _ = fs::remove_dir(data_dir);
    }
    let content = placed?;
    Ok(Restored { store, content })
}

fn place(
    backup: &Snapshot,
    raised: RaisedRevisions,
    data_dir: &Path,
    store: &Path,
    interrupt: &Interrupt,
) -> Result<Content, BackupError> {
    let written = BackupError::write(store);
    create_dir(data_dir).map_err(&written)?;
    let mut draft = StagedStore::beside(store).map_err(&written)?;
    backup.records(|record, bytes| {
        interrupt.check()?;
        let record = record.map(|change| raised.apply_to(change));
        draft.put(record, bytes).map_err(&written)
    })?;
    let draft = draft.seal().map_err(&written)?;
    let content = check(&draft, store, interrupt)?;
    give_to_owner(&draft, data_dir).map_err(|cause| BackupError::Write {
        path: store.to_owned(),
        cause: format!("it cannot be given to the owner of the data directory: {cause}"),
    })?;
    match draft.link(store) {
        Err(StoreError::Io { cause, .. }) if cause.kind() == io::ErrorKind::AlreadyExists => {
            Err(BackupError::StoreExists(store.to_owned()))
        }
        linked => linked.map(|()| content).map_err(written),
    }
}

/// The controller must be able to write what root has restored.
fn give_to_owner(draft: &StagedFile, data_dir: &Path) -> io::Result<()> {
    let (directory, file) = (fs::metadata(data_dir)?, fs::metadata(draft.path())?);
    if (directory.uid(), directory.gid()) == (file.uid(), file.gid()) {
        return Ok(());
    }
    chown(draft.path(), Some(directory.uid()), Some(directory.gid()))
}
