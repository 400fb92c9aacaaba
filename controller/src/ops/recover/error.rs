//! Errors of a recovery, written for operators: what failed, on what, and what to do.

use std::path::PathBuf;

use crate::leadership::lease::LeaseError;
use crate::store::snapshot_exchange::SnapshotExchangeError;
use crate::store::{JournalError, StoreError};

/// The reason why a journal was not recovered.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    #[error("cannot connect to the NATS servers: {0}")]
    Connect(String),
    #[error("a controller is running: stop all controllers, and try again")]
    ControllerActive,
    #[error("nothing to recover: the journal of every partition is complete")]
    NothingToDo,
    /// There are neither rows nor a snapshot.
    #[error(
        "{} has no rows, and the NATS servers have no snapshot: run this command on a controller that still has its data directory, or restore a backup and migrate it", .0.display()
    )]
    NoSource(PathBuf),
    #[error("nothing was changed: the recovery was not confirmed; answer yes, or give --yes")]
    NotConfirmed,
    #[error("cannot ask for confirmation: {0}; give --yes")]
    CannotAsk(std::io::Error),
    /// The written rows differ from their source in this row.
    #[error("the written rows differ from their source in row {0}; this is a bug")]
    RowDiffers(String),
    #[error(transparent)]
    Lease(#[from] LeaseError),
    #[error(transparent)]
    SnapshotExchange(#[from] SnapshotExchangeError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<JournalError> for RecoverError {
    fn from(error: JournalError) -> Self {
        Self::Store(error.into())
    }
}
