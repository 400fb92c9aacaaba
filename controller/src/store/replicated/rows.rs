//! The rows of a replicated store as a file of their own, for another controller: made of one that has them, put in place
//! where they are missing. How such a file comes from one to the other is elsewhere (`peers`).

use std::path::Path;

use super::super::staged_file::{StagedFile, StagedStore};
use super::super::{FILE_NAME, Snapshot, StoreError};

/// Makes a file of the rows of a snapshot; answers the last message of the stream that they contain.
///
/// # Errors
/// They cannot be read, as when their store was closed since, or the file not be written.
pub fn write_rows(snapshot: &Snapshot, data_dir: &Path) -> Result<(StagedFile, u64), StoreError> {
    let contained = snapshot.stream_position()?;
    let sequence = contained.as_ref().map_or(0, |contained| contained.sequence);
    let mut draft = StagedStore::beside(&data_dir.join(FILE_NAME))?;
    if let Some(contained) = contained {
        draft.set_stream_position(&contained)?;
    }
    snapshot.records(|record, bytes| draft.put(record, bytes))?;
    Ok((draft.seal()?, sequence))
}

/// Puts such a file, which was read whole and checked, in the place of the rows in a data directory. Nobody may have those open.
///
/// # Errors
/// It is not whole, it is another stream's, or it cannot be put there.
pub fn place_rows(draft: StagedFile, data_dir: &Path, stream: &str) -> Result<(), StoreError> {
    let snapshot = Snapshot::open_file(draft.path())?;
    let found = snapshot.stream()?;
    if found.as_deref() != Some(stream) {
        return Err(StoreError::OtherJournal {
            path: draft.path().to_owned(),
            found,
            advice: "look who else writes snapshots there",
        });
    }
    snapshot.load(|_| Ok::<_, StoreError>(()))?;
    drop(snapshot);
    draft.replace(&data_dir.join(FILE_NAME))
}
