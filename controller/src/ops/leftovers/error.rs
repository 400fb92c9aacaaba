//! Errors of `remove-leftovers`, written for operators: what failed, on what, and what to do.

use std::path::PathBuf;

use crate::store::StoreError;

/// The reason why leftovers were not removed.
#[derive(Debug, thiserror::Error)]
pub enum LeftoversError {
    #[error("cannot connect to the NATS servers: {0}")]
    Connect(String),
    #[error(
        "nothing to remove: {} does not exist, so no migration to this data directory has left anything behind", .0.display()
    )]
    NoList(PathBuf),
    #[error(
        "cannot look up the stream {stream}: {cause}; use a login that may publish on $JS.API.STREAM.INFO.{stream}"
    )]
    Lookup { stream: String, cause: String },
    /// The stream was created again, or has new messages.
    #[error(
        "nothing was removed: the stream {0} has changed since the migration, so a controller has used it; find out which store has the newest record, start the controllers with that store, and remove the other store by hand"
    )]
    Changed(String),
    #[error(
        "nothing was removed: a controller uses these NATS servers with --store jetstream; stop it, and try again"
    )]
    InUse,
    #[error("nothing was removed: the removal was not confirmed; answer yes, or give --yes")]
    NotConfirmed,
    #[error("cannot ask for confirmation: {0}; give --yes")]
    CannotAsk(std::io::Error),
    #[error(
        "cannot delete the stream {stream}: {cause}; use a login that may publish on $JS.API.STREAM.DELETE.{stream} (docs/operations.md), and run the command again"
    )]
    Delete { stream: String, cause: String },
    #[error(transparent)]
    Store(#[from] StoreError),
}
