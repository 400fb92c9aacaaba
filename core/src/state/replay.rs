//! Restores the state from stored changes when a process starts or a follower catches up.

use std::collections::BTreeMap;
use std::sync::Arc;

use scuttle_schemas::HostId;

use crate::record::change::Change;
use crate::state::State;
use crate::state::host::{Host, insert_shard, remove_shard};

/// The error for a stored row whose host is not stored, which means that the store is damaged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the stored {row} belongs to host {host}, which is not stored")]
pub struct ReplayError {
    row: String,
    host: HostId,
}

impl State {
    /// Applies a stored change. All rows must be applied first, with the hosts before their shards
    /// and operations, and then the changes of the journal in order.
    ///
    /// # Errors
    /// If a shard or operation belongs to a host that is not stored.
    pub fn replay(&mut self, change: Change) -> Result<(), ReplayError> {
        match change {
            Change::Meta(meta) => self.meta = meta,
            Change::Host(row) => self.insert_host(*row),
            Change::Shard(mut row) => {
                let host = find_host(&mut self.hosts, &row.host, || {
                    format!("shard {}", row.decky)
                })?;
                if let Some(row) = Arc::get_mut(&mut row) {
                    // Shares the host's copy of its id, to save memory for each shard.
                    row.host.clone_from(&host.row.host);
                }
                insert_shard(&mut host.shards, &mut self.stats, row);
            }
            Change::ShardRemoved { host, decky } => {
                let host = find_host(&mut self.hosts, &host, || {
                    format!("removal of shard {decky}")
                })?;
                remove_shard(&mut host.shards, &mut self.stats, &decky);
            }
            Change::Operation(row) => {
                find_host(&mut self.hosts, &row.host, || {
                    format!("operation {}", row.id)
                })?;
                self.insert_operation(&row);
            }
            Change::OperationRemoved { id } => self.remove_operation(id),
            Change::Key(row) => self.idempotency_keys.insert(*row),
            Change::KeyRemoved { id } => self.idempotency_keys.remove(&id),
        }
        Ok(())
    }
}

/// Finds the host of a stored row, or returns an error in which `describe` names the row.
fn find_host<'s>(
    hosts: &'s mut BTreeMap<HostId, Box<Host>>,
    id: &HostId,
    describe: impl FnOnce() -> String,
) -> Result<&'s mut Host, ReplayError> {
    let host = hosts.get_mut(id).map(Box::as_mut);
    host.ok_or_else(|| ReplayError {
        row: describe(),
        host: id.clone(),
    })
}
