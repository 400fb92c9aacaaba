//! Exports the rows of a replicated store to a file for another controller, and installs such a
//! file. `snapshot_exchange` transfers the file.

use std::path::Path;

use crate::store::error::StoreError;
use crate::store::redb::database::FILE_NAME;
use crate::store::snapshot::Snapshot;
use crate::store::staged_file::{StagedFile, StagedStore};

/// Writes the rows of a snapshot to a file. Returns the file and the sequence of the last stream
/// message that the rows contain, or 0 if they contain no message.
///
/// # Errors
/// If the snapshot cannot be read, for example because its store was closed, or if the file cannot
/// be written.
pub fn export_rows(snapshot: &Snapshot, data_dir: &Path) -> Result<(StagedFile, u64), StoreError> {
    let position = snapshot.stream_position()?;
    let sequence = position.as_ref().map_or(0, |position| position.sequence);
    let mut staged = StagedStore::create_for(&data_dir.join(FILE_NAME))?;
    if let Some(position) = position {
        staged.set_stream_position(&position)?;
    }
    snapshot.for_each_value(|value, bytes| staged.push(value, bytes))?;
    Ok((staged.finish()?, sequence))
}

/// Verifies a file of rows and installs it as the store of a data directory. A store that is
/// already there must be closed, and is replaced.
///
/// # Errors
/// If the file cannot be read, is damaged, belongs to another stream, or cannot be renamed.
pub fn install_rows(staged: StagedFile, data_dir: &Path, stream: &str) -> Result<(), StoreError> {
    let snapshot = Snapshot::open_file(staged.path())?;
    let found = snapshot.stream()?;
    if found.as_deref() != Some(stream) {
        return Err(StoreError::OtherJournal {
            path: staged.path().to_owned(),
            found,
            advice: "check which other swarm writes snapshots to this object store",
        });
    }
    snapshot.load(|_| Ok::<_, StoreError>(()))?;
    drop(snapshot);
    staged.replace(&data_dir.join(FILE_NAME))
}
