//! Exports the rows of a replicated store to a file for another controller, and installs such a
//! file. `snapshot_exchange` transfers the file.

use std::path::Path;

use crate::store::error::StoreError;
use crate::store::redb::database::FILE_NAME;
use crate::store::replicated::shared_journal::SnapshotInfo;
use crate::store::snapshot::Snapshot;
use crate::store::staged_file::{StagedFile, StagedStore};

/// Writes the rows of a snapshot to a file. Returns the file and the snapshot's metadata, whose
/// sequence is 0 if the rows contain no message.
///
/// # Errors
/// If the snapshot cannot be read, for example because its store was closed, or if the file cannot
/// be written.
pub fn export_rows(
    snapshot: &Snapshot,
    data_dir: &Path,
) -> Result<(StagedFile, SnapshotInfo), StoreError> {
    let (position, known) = (snapshot.stream_position()?, snapshot.known_stream()?);
    let info = SnapshotInfo {
        sequence: position.as_ref().map_or(0, |position| position.sequence),
        recovered_at: known.map_or(0, |known| known.recovered_at),
    };
    let mut staged = StagedStore::create_for(&data_dir.join(FILE_NAME))?;
    if let Some(position) = position {
        staged.set_stream_position(&position, known.as_ref())?;
    }
    snapshot.for_each_value(|value, bytes| staged.push(value, bytes))?;
    Ok((staged.finish()?, info))
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
