//! Durable changes: what the journal holds, and how a start gets the state back from it.

use scuttle_schemas::{DeckyId, HostId};
use serde::{Deserialize, Serialize};

use crate::rows::{HostRow, Meta, OperationRow, ShardRow};
use crate::state::State;

/// One durable change: a whole row to put, or one to remove.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Put the swarm's own row.
    Meta(Meta),
    /// Put a host.
    Host(HostRow),
    /// Put a shard.
    Shard(ShardRow),
    /// Remove a shard.
    ShardRemoved {
        /// The host.
        host: HostId,
        /// The decky.
        decky: DeckyId,
    },
    /// Put an operation.
    Operation(OperationRow),
}

/// A stored row that cannot stand where it stands: the store is damaged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the stored {what} belongs to host {host}, which is not stored")]
pub struct ReplayError {
    what: String,
    host: HostId,
}

impl State {
    /// Applies a stored change: first every row (hosts before shards and operations), then the
    /// journal, in its order.
    ///
    /// # Errors
    /// A shard or operation of a host that is not stored.
    pub fn replay(&mut self, change: Change) -> Result<(), ReplayError> {
        let known = |state: &Self, host: &HostId, what: String| {
            if state.hosts.contains_key(host) {
                Ok(())
            } else {
                Err(ReplayError {
                    what,
                    host: host.clone(),
                })
            }
        };
        match change {
            Change::Meta(meta) => self.meta = meta,
            Change::Host(row) => self.insert_host(row),
            Change::Shard(row) => {
                known(self, &row.host, format!("shard {}", row.decky))?;
                self.insert_shard(row);
            }
            Change::ShardRemoved { host, decky } => {
                known(self, &host, format!("removal of shard {decky}"))?;
                self.delete_shard(&host, &decky);
            }
            Change::Operation(row) => {
                known(self, &row.host, format!("operation {}", row.id))?;
                self.insert_operation(row);
            }
        }
        Ok(())
    }
}
