//! Durable changes, which the journal stores. How a start applies them is in `state::replay`.

use std::sync::Arc;

use scuttle_schemas::{DeckyId, HostId, OperationId};
use serde::{Deserialize, Serialize};

use crate::record::rows::{HostRow, KeyId, KeyRow, Meta, OperationRow, ShardRow};

/// One durable change: a whole row to put, or one to remove.
///
/// A row that a change shares with the state is immutable: a later change makes a new row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Puts the row that exists once per partition.
    Meta(Meta),
    /// Puts a host.
    Host(Box<HostRow>),
    /// Puts a shard.
    Shard(Arc<ShardRow>),
    /// Removes a shard.
    ShardRemoved {
        /// The host.
        host: HostId,
        /// The decky.
        decky: DeckyId,
    },
    /// Puts an operation.
    Operation(Arc<OperationRow>),
    /// Removes an operation.
    OperationRemoved {
        /// The operation.
        id: OperationId,
    },
    /// Puts an idempotency key.
    Key(Box<KeyRow>),
    /// Removes an idempotency key.
    KeyRemoved {
        /// The key.
        id: KeyId,
    },
}
