//! What was done on one simulated host, line by line: the ground truth for whoever checks the controller's record.
//!
//! A line is written before the world's file, so a kill between the two leaves a line of something that is done again
//! by the next start; never a change without its line. What exists now is in `world`.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use scuttle_schemas::{DeckyId, OperationId, Timestamp};
use serde::{Deserialize, Serialize};

const FILE: &str = "world.log";

/// One thing that was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "did", rename_all = "snake_case")]
pub enum Deed {
    /// A decky was deployed, for the first time or anew.
    Deployed {
        /// Which.
        decky_id: DeckyId,
    },
    /// A teardown began, or went on after a crash.
    Began {
        /// For this operation.
        operation_id: OperationId,
        /// A crash had ended an earlier try.
        resumed: bool,
    },
    /// A decky was removed.
    Removed {
        /// For this operation.
        operation_id: OperationId,
        /// Which.
        decky_id: DeckyId,
    },
    /// A decky could not be removed.
    Failed {
        /// For this operation.
        operation_id: OperationId,
        /// Which.
        decky_id: DeckyId,
    },
}

/// A deed and its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// When.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub deed: Deed,
}

/// The file of a host in `directory`.
pub fn file(directory: &Path) -> PathBuf {
    directory.join(FILE)
}

/// Appends lines in one write, which the end of the process cannot cut.
///
/// # Errors
/// The file cannot be written.
pub fn append(path: &Path, deeds: impl IntoIterator<Item = Deed>) -> io::Result<()> {
    let at = now();
    let mut text = Vec::new();
    for deed in deeds {
        serde_json::to_writer(&mut text, &Line { at, deed })?;
        text.push(b'\n');
    }
    File::options()
        .create(true)
        .append(true)
        .open(path)?
        .write_all(&text)
}

/// All lines; none when there is no file.
///
/// # Errors
/// It cannot be read, or is not what was written.
pub fn read(path: &Path) -> io::Result<Vec<Line>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let line = |text| serde_json::from_str(text).map_err(io::Error::from);
    text.lines().map(line).collect()
}

/// The time now.
pub(crate) fn now() -> Timestamp {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
