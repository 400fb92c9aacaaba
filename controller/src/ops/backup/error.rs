//! What can go wrong with a backup, in words for the operator: what failed, on which file, what to do.

use std::io;
use std::path::{Path, PathBuf};

use crate::store::StoreError;

/// A backup that was not made, or not restored: nothing is left of it, and nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is a file of that name.
    #[error("{} exists already: give another name, or --force to replace it", .0.display())]
    Exists(PathBuf),
    /// The backup would go where the store is.
    #[error("{} is the store itself: give another name", .0.display())]
    IsStore(PathBuf),
    /// There is nothing to back up.
    #[error("there is no store at {}: give the data directory of a controller (--data-dir)", .0.display())]
    NoStore(PathBuf),
    /// The controller is stopped, and the rest of its store is on the servers.
    #[error("{} has a part of the record alone, the rest is in the stream {stream}: make the backup while the controller runs, or of another one that does", .path.display())]
    OnlyRows {
        /// The file.
        path: PathBuf,
        /// The stream.
        stream: String,
    },
    /// A controller has the store open, and its socket is not there.
    #[error("{} is in use by a controller that hands out no backups: if it is just starting or stopping, try again, else its log says why", .0.display())]
    Silent(PathBuf),
    /// The controller's socket does not take us.
    #[error("cannot connect to the controller at {}: {cause}; run this as the user that owns the data directory, or as root", .path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why not.
        cause: io::Error,
    },
    /// The controller says no.
    #[error("the controller makes no backup: {0}")]
    Refused(String),
    /// The controller went away, or does not answer.
    #[error("the backup broke off: {0}; try again")]
    Broken(io::Error),
    /// The controller is of another version.
    #[error(
        "the running controller writes format {found}, and this program reads format {known}: use the program of the version that runs"
    )]
    OtherVersion {
        /// The controller's format.
        found: u32,
        /// This program's.
        known: u32,
    },
    /// The store itself cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file cannot be written.
    #[error("cannot write {}: {cause}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says, and what to do.
        cause: String,
    },
    /// What was written is not what it should be.
    #[error("what was written to {} cannot be read again: {cause}; check that disk, or give another place", .path.display())]
    Unsound {
        /// The file.
        path: PathBuf,
        /// What shows it.
        cause: String,
    },
    /// A controller runs on the data directory.
    #[error("a controller runs on {}: stop it, then move its store away", .0.display())]
    Running(PathBuf),
    /// The data directory has a store.
    #[error("there is a store at {}: move it away first, with the controller stopped", .0.display())]
    StoreExists(PathBuf),
    /// The file is no backup that can be restored.
    #[error("{} cannot be restored: {cause}; nothing was changed", .path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// Why not, and what to do.
        cause: String,
    },
    /// The operator does not want it any more.
    #[error("interrupted")]
    Interrupted,
}

impl BackupError {
    /// For `map_err`: the disk of a file that is written refuses.
    pub(crate) fn write(path: &Path) -> impl Fn(StoreError) -> Self {
        move |error| Self::Write {
            path: path.to_owned(),
            cause: format!("{}; {}", cause(&error), advice(&error)),
        }
    }

    /// For `map_err`: what a file that was just written shows.
    pub(crate) fn unsound(path: &Path) -> impl Fn(Self) -> Self {
        move |error| match error {
            Self::Store(error) => Self::Unsound {
                path: path.to_owned(),
                cause: cause(&error),
            },
            other => other,
        }
    }

    /// For `map_err`: what is wrong with a file that is to be restored.
    pub(crate) fn unfit(path: &Path) -> impl Fn(Self) -> Self {
        let advice = |error: &StoreError| match error {
            StoreError::InUse { .. } => {
                "it is the store of a controller that runs: make a backup of that one"
            }
            StoreError::Format { .. } => "restore it with the version of Scuttle that wrote it",
            StoreError::Io { .. } => "check the path and its disk",
            _ => "use another backup",
        };
        move |error| match error {
            Self::Store(error) => Self::Unfit {
                path: path.to_owned(),
                cause: format!("{}: {}", cause(&error), advice(&error)),
            },
            other => other,
        }
    }
}

/// What an operator does about a file that cannot be written.
fn advice(error: &StoreError) -> &'static str {
    match error {
        StoreError::Io { cause, .. }
            if matches!(
                cause.kind(),
                io::ErrorKind::StorageFull
                    | io::ErrorKind::QuotaExceeded
                    | io::ErrorKind::FileTooLarge
            ) =>
        {
            "free some space there, or give another place"
        }
        _ => "check that place, or give another",
    }
}

/// What a store's error says of the file, without the advice, which is for a controller's own store.
fn cause(error: &StoreError) -> String {
    match error {
        StoreError::InUse { .. } => "it is in use".to_owned(),
        StoreError::Io { cause, .. } => cause.to_string(),
        StoreError::Foreign { cause, .. } => format!("it is not a Scuttle store ({cause})"),
        StoreError::Format { found, known, .. } => {
            format!("it has format {found}, and this program reads format {known}")
        }
        StoreError::Damaged { cause, .. } => format!("it is damaged ({cause})"),
        StoreError::Row {
            table, key, cause, ..
        } => {
            format!("it is damaged (table {table}, {key}: {cause})")
        }
        StoreError::Replay { cause, .. } => format!("it is damaged ({cause})"),
        StoreError::Database { cause, .. } => cause.clone(),
        StoreError::OtherJournal { .. } | StoreError::Journal(_) | StoreError::Ordered => {
            error.to_string()
        }
    }
}
