//! Errors of a migration, written for operators: what failed, which store it concerns, and what to
//! do.

use std::path::PathBuf;

use scuttle_schemas::{OperationId, subjects};

use crate::leadership::lease::LeaseError;
use crate::ops::leftovers::error::LeftoversError;
use crate::store::StoreError;
use crate::store::snapshot_exchange::SnapshotExchangeError;

/// The reason why a migration failed. Unless the new store is already in place, the source still
/// has the complete record.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    #[error("cannot connect to the NATS servers: {0}")]
    Connect(String),
    #[error("the record of {} is already on the NATS servers: start the controller with --store jetstream", .0.display())]
    AlreadyMigrated(PathBuf),
    #[error(
        "the stream {0} already exists and holds another record: if a migration to redb left it behind, run `scuttle-controller remove-leftovers`; if it is left over from an aborted migration, or its record is no longer needed, delete the stream; then try again"
    )]
    StreamExists(String),
    /// The object store has snapshots of an earlier stream that no longer exists, and controllers
    /// would prefer them.
    #[error(
        "the object store {} has snapshots of an earlier stream: if that stream was deleted because its record is no longer needed, delete the object store too, and try again",
        subjects::SNAPSHOTS_BUCKET
    )]
    SnapshotsExist,
    #[error("the stream {0} does not exist: there is nothing to migrate")]
    NoStream(String),
    #[error(
        "cannot look up the stream {0}: {1}; use the login of a controller, and check that JetStream is enabled and that enough servers are running (docs/operations.md)"
    )]
    Lookup(String, String),
    /// The record has an open operation that could not be cancelled after the migration, because
    /// its id does not identify its partition.
    #[error(
        "operation {0} is open and was accepted by an earlier version, whose ids do not identify the partition of an operation: start the controller with its old settings, wait until the operation has ended, and try again"
    )]
    MisplacedOperation(OperationId),
    #[error("cannot claim the hosts' names on the NATS servers: {0}; try again")]
    Names(String),
    #[error("a controller is the leader, or was a moment ago: stop all controllers, and try again")]
    LeaderActive,
    /// The written record differs from the source in this row.
    #[error(
        "the written record differs from the source in row {0}: nothing was replaced; this is a bug"
    )]
    RowDiffers(String),
    #[error(transparent)]
    Leftovers(#[from] LeftoversError),
    #[error(transparent)]
    Lease(#[from] LeaseError),
    #[error(transparent)]
    SnapshotExchange(#[from] SnapshotExchangeError),
    #[error(transparent)]
    Store(#[from] StoreError),
}
