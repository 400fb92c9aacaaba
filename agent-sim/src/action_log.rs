//! The log of all actions on a simulated host. Tests compare the controller's record with this log.
//!
//! Each action is logged before `simulated_host` saves the new state of the host. If the process is
//! killed between the two writes, the next start repeats an action that is already logged. No
//! change is ever missing from the log.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use scuttle_schemas::{DeckyId, OperationId, Timestamp};
use serde::{Deserialize, Serialize};

const FILE: &str = "world.log";

/// An action on a simulated host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "did", rename_all = "snake_case")]
pub enum Action {
    /// A decky was deployed, for the first time or again.
    Deployed { decky_id: DeckyId },
    /// A teardown started, or resumed after a crash.
    #[serde(rename = "began")]
    Started {
        operation_id: OperationId,
        resumed: bool,
    },
    /// A teardown removed the decky. A decky that was already gone is not logged.
    Removed {
        operation_id: OperationId,
        decky_id: DeckyId,
    },
    /// The removal of the decky was made to fail.
    Failed {
        operation_id: OperationId,
        decky_id: DeckyId,
    },
}

/// A line of the log: an action and its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionLine {
    pub at: Timestamp,
    #[serde(flatten)]
    pub action: Action,
}

/// Returns the path of the log in a host's data directory.
pub fn log_path(directory: &Path) -> PathBuf {
    directory.join(FILE)
}

/// Appends one line per action in a single write, so that killing the process leaves no partial
/// line.
pub(crate) fn append(path: &Path, actions: impl IntoIterator<Item = Action>) -> io::Result<()> {
    let at = current_time();
    let mut text = Vec::new();
    for action in actions {
        serde_json::to_writer(&mut text, &ActionLine { at, action })?;
        text.push(b'\n');
    }
    File::options()
        .create(true)
        .append(true)
        .open(path)?
        .write_all(&text)
}

/// Reads all lines of a log. Returns an empty list if the file does not exist.
///
/// # Errors
/// If the file cannot be read, or a line is not valid.
pub fn read_lines(path: &Path) -> io::Result<Vec<ActionLine>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let parse = |text| serde_json::from_str(text).map_err(io::Error::from);
    text.lines().map(parse).collect()
}

pub(crate) fn current_time() -> Timestamp {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
