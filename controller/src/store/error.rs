//! What can go wrong with a store, in words for the operator: what failed, on which file, what to do.

use std::io;
use std::path::{Path, PathBuf};

use scuttle_core::ReplayError;

fn of_stream(found: Option<&str>) -> String {
    match found {
        Some(stream) => format!("of the stream {stream}"),
        None => "whose journal is in the file".to_owned(),
    }
}

const RESTORE: &str = "restore a backup of it, or move it away to start with an empty swarm record";

/// A store that does not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the store open.
    #[error("{} is in use by another controller: stop that one, or give this one its own data directory", .path.display())]
    InUse {
        /// The store's file.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot {action} {}: {cause}; {}", .path.display(), advice(.cause))]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why it failed.
        cause: io::Error,
    },
    /// The file is something else.
    #[error("{} is not a Scuttle store ({cause}): {RESTORE}", .path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What shows it.
        cause: String,
    },
    /// Another version of Scuttle wrote the file.
    #[error("{} has format {found}, and this controller reads format {known}: run the version of Scuttle that wrote it, or {RESTORE}", .path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The format that this program reads and writes.
        known: u32,
    },
    /// The file is not as it was written.
    #[error("{} is damaged ({cause}): {RESTORE}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What shows it.
        cause: String,
    },
    /// A stored row or batch does not decode.
    #[error("{} is damaged (table {table}, key {key}: {cause}): {RESTORE}", .path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// The table.
        table: &'static str,
        /// The key in that table.
        key: String,
        /// What is wrong with the bytes.
        cause: postcard::Error,
    },
    /// A stored change does not fit the others.
    #[error("{} is damaged ({cause}): {RESTORE}", .path.display())]
    Replay {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        cause: ReplayError,
    },
    /// The rows are of another journal.
    #[error("{} has rows {}: {advice}", .path.display(), of_stream(.found.as_deref()))]
    OtherJournal {
        /// The file.
        path: PathBuf,
        /// The stream that its rows belong to; none: their journal is in the file.
        found: Option<String>,
        /// What to do.
        advice: &'static str,
    },
    /// The journal is a stream, which did not do what it was asked to.
    #[error(transparent)]
    Journal(#[from] super::JournalError),
    /// The database refused for a reason that no file explains: a bug.
    #[error("cannot {action} {}: {cause}", .path.display())]
    Database {
        /// What was tried.
        action: &'static str,
        /// The store's file.
        path: PathBuf,
        /// What the database said.
        cause: String,
    },
    /// A test ordered this failure.
    #[error("the append failed, as ordered")]
    Ordered,
}

impl StoreError {
    pub(crate) fn io(action: &'static str, path: &Path, cause: io::Error) -> Self {
        Self::Io {
            action,
            path: path.to_owned(),
            cause,
        }
    }

    /// What redb says, as what an operator can act on.
    pub(super) fn redb(action: &'static str, path: &Path, error: ::redb::Error) -> Self {
        use ::redb::Error as Redb;
        let cause = error.to_string();
        let path = path.to_owned();
        match error {
            Redb::DatabaseAlreadyOpen | Redb::LockProtocolMismatch => Self::InUse { path },
            // How redb reports a file without its magic number.
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

/// What an operator does about an error of the operating system.
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
