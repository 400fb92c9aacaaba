//! Errors of backup and restore, written for operators: what failed, on which file, and what to do.

use std::io;
use std::path::{Path, PathBuf};

use crate::store::StoreError;

/// The reason why a backup or restore failed. No partial file is left and nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The backup file exists, and `--force` was not given.
    #[error("{} already exists: choose another name, or replace it with --force", .0.display())]
    Exists(PathBuf),
    /// The backup file is the store itself.
    #[error("{} is the store itself: choose another name", .0.display())]
    IsStore(PathBuf),
    #[error("no store found at {}: specify the data directory of a controller (--data-dir)", .0.display())]
    NoStore(PathBuf),
    /// The file holds only part of the record; the rest is in a stream on the NATS servers.
    #[error("{} holds only part of the record, and the stream {stream} holds the rest: make the backup while a controller is running", .path.display())]
    OnlyRows { path: PathBuf, stream: String },
    /// A controller has the store open but does not serve backups.
    #[error("{} is in use by a controller that does not serve backups: if the controller is starting or stopping, try again; otherwise see its log", .0.display())]
    NotServed(PathBuf),
    /// The controller's socket exists, but connecting to it failed.
    #[error("cannot connect to the controller at {}: {cause}; run the command as the user that owns the data directory, or as root", .path.display())]
    Connect { path: PathBuf, cause: io::Error },
    #[error("the controller rejected the backup: {0}")]
    Rejected(String),
    /// The transfer from the controller failed.
    #[error("the backup was interrupted: {0}; try again")]
    Transfer(io::Error),
    /// The running controller uses another store format.
    #[error(
        "the running controller writes format {found}, but this program reads format {known}: run the backup with the same version that is running"
    )]
    OtherVersion { found: u32, known: u32 },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot write {}: {cause}", .path.display())]
    Write {
        path: PathBuf,
        /// The reason and the advice.
        cause: String,
    },
    /// The written file failed the verification.
    #[error("{} cannot be read back after it was written: {cause}; check that disk, or choose another location", .path.display())]
    VerificationFailed { path: PathBuf, cause: String },
    #[error("a controller is running on {}: stop it, then move its store away", .0.display())]
    Running(PathBuf),
    #[error("a store already exists at {}: stop the controller and move the store away first", .0.display())]
    StoreExists(PathBuf),
    /// The file is not a backup that can be restored.
    #[error("{} cannot be restored: {cause}; nothing was changed", .path.display())]
    NotRestorable {
        path: PathBuf,
        /// The reason and the advice.
        cause: String,
    },
    /// The operator cancelled the command.
    #[error("interrupted")]
    Interrupted,
}

impl BackupError {
    /// Returns a function for `map_err` that turns a store's error into [`Self::Write`].
    pub(crate) fn write_failed(path: &Path) -> impl Fn(StoreError) -> Self {
        move |error| Self::Write {
            path: path.to_owned(),
            cause: format!("{}; {}", cause(&error), advice(&error)),
        }
    }

    /// Returns a function for `map_err` that turns a store's error into
    /// [`Self::VerificationFailed`], and keeps all other errors.
    pub(crate) fn verification_failed(path: &Path) -> impl Fn(Self) -> Self {
        move |error| match error {
            Self::Store(error) => Self::VerificationFailed {
                path: path.to_owned(),
                cause: cause(&error),
            },
            other => other,
        }
    }

    /// Returns a function for `map_err` that turns a store's error into [`Self::NotRestorable`],
    /// and keeps all other errors.
    pub(crate) fn not_restorable(path: &Path) -> impl Fn(Self) -> Self {
        let advice = |error: &StoreError| match error {
            StoreError::InUse { .. } => {
                "it is the store of a running controller: make a backup of that controller"
            }
            StoreError::Format { .. } => "restore it with the version of Scuttle that wrote it",
            StoreError::Io { .. } => "check the path and its disk",
            _ => "use another backup",
        };
        move |error| match error {
            Self::Store(error) => Self::NotRestorable {
                path: path.to_owned(),
                cause: format!("{}: {}", cause(&error), advice(&error)),
            },
            other => other,
        }
    }
}

/// Returns what the operator can do about a file that cannot be written.
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
            "free some space there, or choose another location"
        }
        _ => "check that location, or choose another",
    }
}

/// Describes a store's error without its advice, because the advice only fits the controller's own
/// store.
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
        StoreError::OtherJournal { .. }
        | StoreError::Journal(_)
        | StoreError::Removed { .. }
        | StoreError::Injected => error.to_string(),
    }
}
