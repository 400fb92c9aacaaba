//! Durable changes, which the journal stores. `state::replay` applies them when a process starts.

use std::sync::Arc;

use scuttle_schemas::{DeckyId, HostId, OperationId};
use serde::{Deserialize, Serialize};

use crate::record::rows::{HostRow, KeyId, KeyRow, Meta, OperationRow, ShardRow};

/// One durable change: a row that is stored as a whole, or the removal of a row.
///
/// A change may share its row with the state. Such a row is immutable: a later change creates a new
/// row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// The epoch and the last revisions of the partition.
    Meta(Meta),
    /// A new or changed host.
    Host(Box<HostRow>),
    /// A new or changed shard.
    Shard(Arc<ShardRow>),
    /// The removal of a shard.
    ShardRemoved {
        /// The host to which the shard belonged.
        host: HostId,
        /// The decky that is no longer in the record.
        decky: DeckyId,
    },
    /// A new or changed operation.
    Operation(Arc<OperationRow>),
    /// The removal of an operation whose retention has ended.
    OperationRemoved {
        /// The id of the removed operation.
        id: OperationId,
    },
    /// A new idempotency key.
    Key(Box<KeyRow>),
    /// The removal of an expired idempotency key.
    KeyRemoved {
        /// The requester and the text of the removed key.
        id: KeyId,
    },
}
