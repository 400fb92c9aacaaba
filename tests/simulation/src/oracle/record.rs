//! The durable record, rebuilt from the changes that were appended.

use std::collections::BTreeMap;

use scuttle_core::{Change, HostRow, KeyId, KeyRow, Meta, OperationRow, ShardRow};
use scuttle_schemas::{DeckyId, HostId, OperationId};

/// A shard in the durable record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shard {
    pub(crate) row: ShardRow,
    /// The number of the append that registered the shard. It distinguishes the registrations of
    /// one decky.
    pub(crate) registered_in: u64,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Record {
    pub(crate) meta: Meta,
    pub(crate) hosts: BTreeMap<HostId, HostRow>,
    pub(crate) shards: BTreeMap<(HostId, DeckyId), Shard>,
    pub(crate) operations: BTreeMap<OperationId, OperationRow>,
    pub(crate) keys: BTreeMap<KeyId, KeyRow>,
}

impl Record {
    pub(crate) fn apply(&mut self, change: &Change, append: u64) {
        match change {
            Change::Meta(meta) => self.meta = *meta,
            Change::Host(row) => drop(self.hosts.insert(row.host.clone(), (**row).clone())),
            Change::Shard(row) => {
                let key = (row.host.clone(), row.decky.clone());
                let known = self.shards.get(&key);
                let known = known.filter(|shard| !is_redeployed(&shard.row, row));
                let registered_in = known.map_or(append, |shard| shard.registered_in);
                let row = (**row).clone();
                self.shards.insert(key, Shard { row, registered_in });
            }
            Change::ShardRemoved { host, decky } => {
                self.shards.remove(&(host.clone(), decky.clone()));
            }
            Change::Operation(row) => drop(self.operations.insert(row.id, (**row).clone())),
            Change::OperationRemoved { id } => drop(self.operations.remove(id)),
            Change::Key(row) => drop(self.keys.insert(row.id.clone(), (**row).clone())),
            Change::KeyRemoved { id } => drop(self.keys.remove(id)),
        }
    }

    /// Describes the first difference between two records, or returns `None` if they are equal.
    pub(crate) fn find_difference(&self, other: &Self) -> Option<String> {
        let shards = |rows: &Self| -> BTreeMap<_, _> {
            let rows = rows.shards.iter();
            rows.map(|(key, shard)| (key.clone(), shard.row.clone()))
                .collect()
        };
        if self.meta != other.meta {
            Some(format!(
                "meta: expected {:?}, found {:?}",
                self.meta, other.meta
            ))
        } else if self.hosts != other.hosts {
            Some(format!(
                "hosts: expected {:?}, found {:?}",
                self.hosts, other.hosts
            ))
        } else if self.operations != other.operations {
            Some(format!(
                "operations: expected {:?}, found {:?}",
                self.operations, other.operations
            ))
        } else if self.keys != other.keys {
            Some(format!(
                "keys: expected {:?}, found {:?}",
                self.keys, other.keys
            ))
        } else if shards(self) != shards(other) {
            Some(format!(
                "shards: expected {:?}, found {:?}",
                shards(self),
                shards(other)
            ))
        } else {
            None
        }
    }
}

/// Returns whether a change of a shard shows that its decky was deployed again.
pub(crate) fn is_redeployed(before: &ShardRow, row: &ShardRow) -> bool {
    let (before, after) = (before.deployment.as_ref(), row.deployment.as_ref());
    before.is_some() && after.is_some() && before != after
}
