//! How a start gets the state back from the stored changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use scuttle_schemas::HostId;

use crate::record::change::Change;
use crate::state::State;
use crate::state::host::{Host, insert_shard, remove_shard};

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
        match change {
            Change::Meta(meta) => self.meta = meta,
            Change::Host(row) => self.insert_host(*row),
            Change::Shard(mut row) => {
                let host = known(&mut self.hosts, &row.host, || {
                    format!("shard {}", row.decky)
                })?;
                if let Some(row) = Arc::get_mut(&mut row) {
                    // The host's own name, so that each shard's needs no memory of its own.
                    row.host.clone_from(&host.row.host);
                }
                insert_shard(&mut host.shards, &mut self.stats, row);
            }
            Change::ShardRemoved { host, decky } => {
                let host = known(&mut self.hosts, &host, || {
                    format!("removal of shard {decky}")
                })?;
                remove_shard(&mut host.shards, &mut self.stats, &decky);
            }
            Change::Operation(row) => {
                known(&mut self.hosts, &row.host, || {
                    format!("operation {}", row.id)
                })?;
                self.insert_operation(&row);
            }
            Change::OperationRemoved { id } => self.delete_operation(id),
            Change::Key(row) => self.keys.insert(*row),
            Change::KeyRemoved { id } => self.keys.remove(&id),
        }
        Ok(())
    }
}

fn known<'s>(
    hosts: &'s mut BTreeMap<HostId, Box<Host>>,
    host: &HostId,
    what: impl FnOnce() -> String,
) -> Result<&'s mut Host, ReplayError> {
    let known = hosts.get_mut(host).map(Box::as_mut);
    known.ok_or_else(|| ReplayError {
        what: what(),
        host: host.clone(),
    })
}
