//! Errors of a store, written for operators: what failed, on which file, and what to do.

use std::io;
use std::path::{Path, PathBuf};

use scuttle_core::ReplayError;

use crate::store::journal_error::JournalError;

fn describe_journal(found: Option<&str>) -> String {
    match found {
        Some(stream) => format!("the stream {stream}"),
        None => "a journal in the file itself".to_owned(),
    }
}

const RESTORE: &str = "restore a backup, or move the file away to start with an empty record";

/// The reason why a store operation failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the store open.
    #[error("{} is in use by another controller: stop that one, or give this one a separate data directory", .path.display())]
    InUse { path: PathBuf },
    /// The operating system could not perform an action on the file.
    #[error("cannot {action} {}: {cause}; {}", .path.display(), advice(.cause))]
    Io {
        action: &'static str,
        path: PathBuf,
        cause: io::Error,
    },
    /// The file is not a Scuttle store.
    #[error("{} is not a Scuttle store ({cause}): {RESTORE}", .path.display())]
    Foreign { path: PathBuf, cause: String },
    /// Another version of Scuttle wrote the file.
    #[error("{} has format {found}, and this controller reads format {known}: run the version of Scuttle that wrote it, or {RESTORE}", .path.display())]
    Format {
        path: PathBuf,
        found: u32,
        known: u32,
    },
    /// The content of the file has changed since the store wrote it.
    #[error("{} is damaged ({cause}): {RESTORE}", .path.display())]
    Damaged { path: PathBuf, cause: String },
    /// A stored row or batch cannot be decoded.
    #[error("{} is damaged (table {table}, key {key}: {cause}): {RESTORE}", .path.display())]
    Row {
        path: PathBuf,
        table: &'static str,
        key: String,
        cause: postcard::Error,
    },
    /// A stored change contradicts the changes before it.
    #[error("{} is damaged ({cause}): {RESTORE}", .path.display())]
    Replay { path: PathBuf, cause: ReplayError },
    /// The rows belong to a journal other than the requested one.
    #[error("the rows in {} belong to {}: {advice}", .path.display(), describe_journal(.found.as_deref()))]
    OtherJournal {
        path: PathBuf,
        /// The stream that the rows belong to. `None` if their journal is in the file.
        found: Option<String>,
        advice: &'static str,
    },
    /// An operation on the journal's stream failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The database failed although the file is valid. This is a bug.
    #[error("cannot {action} {}: {cause}", .path.display())]
    Database {
        action: &'static str,
        path: PathBuf,
        cause: String,
    },
    /// The file was removed or replaced while the store was in use.
    #[error("{} was removed or replaced while the controller was using it, so the controller is stopping and accepts no more changes: put the data directory back, or {RESTORE}, then start the controller again", .path.display())]
    Removed { path: PathBuf },
    /// A failure that a test requested.
    #[error("the append failed, as the test requested")]
    Injected,
}

impl StoreError {
    pub(crate) fn io(action: &'static str, path: &Path, cause: io::Error) -> Self {
        Self::Io {
            action,
            path: path.to_owned(),
            cause,
        }
    }

    /// Translates an error of redb into one that an operator can act on.
    pub(crate) fn redb(action: &'static str, path: &Path, error: ::redb::Error) -> Self {
        use ::redb::Error as Redb;
        let cause = error.to_string();
        let path = path.to_owned();
        match error {
            Redb::DatabaseAlreadyOpen | Redb::LockProtocolMismatch => Self::InUse { path },
            // redb reports a file without its magic number in this way.
            Redb::Io(cause) if cause.kind() == io::ErrorKind::InvalidData => Self::Foreign {
                path,
                cause: cause.to_string(),
            },
            Redb::Io(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => Self::Damaged {
                path,
                cause: cause.to_string(),
            },
            Redb::Io(cause) => Self::Io {
                action,
                path,
                cause,
            },
            Redb::Corrupted(cause) => Self::Damaged { path, cause },
            Redb::TableDoesNotExist(_)
            | Redb::TableIsMultimap(_)
            | Redb::TableTypeMismatch { .. }
            | Redb::TypeDefinitionChanged { .. }
            | Redb::UpgradeRequired(_) => Self::Foreign { path, cause },
            _ => Self::Database {
                action,
                path,
                cause,
            },
        }
    }
}

/// Returns what the operator can do about an error of the operating system.
fn advice(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "give the controller's user the right to read and write there"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            "free some space on that disk, or raise the controller's quota or limit there, then start the controller again"
        }
        _ => "check the path and its disk, then start the controller again",
    }
}
