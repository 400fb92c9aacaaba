//! What can go wrong with a migration, in words for the operator: what failed, on what, what to do.

use std::path::PathBuf;

use scuttle_schemas::{OperationId, subjects};

use crate::leadership::lease::LeaseError;
use crate::store::StoreError;
use crate::store::snapshot_exchange::SnapshotExchangeError;

/// A record that was not migrated: it is where it was.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The servers are not there.
    #[error("cannot connect to the NATS servers: {0}")]
    Connect(String),
    /// The store has its journal there already.
    #[error("{} has its journal in a stream already: start the controller with --store jetstream", .0.display())]
    Already(PathBuf),
    /// The stream is there.
    #[error(
        "the stream {0} is there already and has a record of its own: where a migration broke off before, or that record is of no use, remove the stream and try again"
    )]
    StreamExists(String),
    /// There are snapshots of a stream that is gone.
    #[error(
        "the object store {} has snapshots of an earlier stream: where that was removed because its record is of no use, remove the object store, too, and try again",
        subjects::SNAPSHOTS_BUCKET
    )]
    SnapshotsExist,
    /// The stream is not there.
    #[error("there is no stream {0}: there is nothing to migrate")]
    NoStream(String),
    /// The servers do not say.
    #[error("cannot look for the stream {0}: {1}")]
    Look(String, String),
    /// An open operation could not be withdrawn any more.
    #[error(
        "operation {0} is open, and was accepted by an earlier version, whose ids do not say which partition an operation is in: start the controller as it was, wait until the operation has ended, and try again"
    )]
    Misplaced(OperationId),
    /// The hosts' names cannot be claimed.
    #[error("cannot claim the hosts' names on the NATS servers: {0}; try again")]
    Names(String),
    /// A controller leads.
    #[error("a controller leads, or did until a moment ago: stop all of them, and try again")]
    Led,
    /// What was written is something else.
    #[error(
        "what was written is not what was read, in row {0}: nothing was replaced; this is a bug"
    )]
    Different(String),
    /// The lease cannot be had.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// The snapshot cannot be handed on.
    #[error(transparent)]
    SnapshotExchange(#[from] SnapshotExchangeError),
    /// A store cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}
