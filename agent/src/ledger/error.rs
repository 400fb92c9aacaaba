//! The error for a ledger that cannot be used.

use std::io;
use std::path::{Path, PathBuf};

use scuttle_schemas::HostId;

/// The reason why a ledger cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error(
        "cannot {action} the agent's ledger {path}: {cause}; check the disk, its free space and the permissions, then start the agent again"
    )]
    Io {
        action: &'static str,
        path: PathBuf,
        cause: io::Error,
    },
    #[error(
        "the agent's ledger {path} is in use by another process; stop the other agent, or give this one a separate data directory"
    )]
    InUse {
        /// The lock file.
        path: PathBuf,
    },
    #[error(
        "the agent's ledger {path} belongs to host {found}, not to {expected}; give every host a separate data directory"
    )]
    OtherHost {
        path: PathBuf,
        found: HostId,
        expected: HostId,
    },
    #[error(
        "the agent's ledger {path} has format {found}, but this program reads format {known}; install the version of Scuttle that wrote it, or a newer one"
    )]
    OtherFormat {
        path: PathBuf,
        found: u32,
        known: u32,
    },
    /// The content of the file differs from what the agent wrote.
    #[error(
        "the agent's ledger {path} is damaged at line {line}: {what}; restore the file from a backup, or, if no teardown of this host is open, move it away and start the agent again"
    )]
    Damaged {
        path: PathBuf,
        /// The number of the damaged line, counted from 1.
        line: usize,
        what: &'static str,
    },
}

impl LedgerError {
    /// Returns a function for `map_err` that turns an I/O error into `Self::Io` with this action
    /// and path.
    pub(super) fn io<'a>(
        action: &'static str,
        path: &'a Path,
    ) -> impl FnOnce(io::Error) -> Self + 'a {
        move |cause| Self::Io {
            action,
            path: path.to_owned(),
            cause,
        }
    }
}
