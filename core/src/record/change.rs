//! Durable changes: what the journal holds, and how a start gets the state back from it.

use std::sync::Arc;

use scuttle_schemas::{DeckyId, HostId, OperationId};
use serde::{Deserialize, Serialize};

use crate::record::rows::{HostRow, KeyId, KeyRow, Meta, OperationRow, ShardRow};

/// One durable change: a whole row to put, or one to remove. The rows that a change shares with the
/// state are never written to again: who changes one makes another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Put the swarm's own row.
    Meta(Meta),
    /// Put a host.
    Host(Box<HostRow>),
    /// Put a shard.
    Shard(Arc<ShardRow>),
    /// Remove a shard.
    ShardRemoved {
        /// The host.
        host: HostId,
        /// The decky.
        decky: DeckyId,
    },
    /// Put an operation.
    Operation(Arc<OperationRow>),
    /// Remove an operation.
    OperationRemoved {
        /// The operation.
        id: OperationId,
    },
    /// Put an idempotency key.
    Key(Box<KeyRow>),
    /// Remove an idempotency key.
    KeyRemoved {
        /// The key.
        id: KeyId,
    },
}
