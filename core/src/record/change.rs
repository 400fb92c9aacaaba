//! Durable changes, which the journal stores. `state::replay` applies them at a start.

use std::sync::Arc;

use scuttle_schemas::{DeckyId, HostId, OperationId};
use serde::{Deserialize, Serialize};

use crate::record::rows::{HostRow, KeyId, KeyRow, Meta, OperationRow, ShardRow};

/// One durable change: puts a whole row, or removes a row.
///
/// A change may share its row with the state. Such a row is immutable: a later change creates a new
/// row.
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
