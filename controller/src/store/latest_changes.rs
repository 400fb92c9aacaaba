//! The latest change to each row. A checkpoint writes only these changes, because they supersede
//! all earlier ones.

use std::collections::BTreeMap;

use scuttle_core::{Change, KeyId};
use scuttle_schemas::{DeckyId, HostId, OperationId};

/// The key of the row that a change belongs to. Keys sort as in `Store::load`: by table, then by
/// key within the table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RowKey {
    Meta,
    Host(HostId),
    Shard(HostId, DeckyId),
    Operation(OperationId),
    Idempotency(KeyId),
}

impl RowKey {
    pub(super) fn from_change(change: &Change) -> Self {
        match change {
            Change::Meta(_) => Self::Meta,
            Change::Host(row) => Self::Host(row.host.clone()),
            Change::Shard(row) => Self::Shard(row.host.clone(), row.decky.clone()),
            Change::ShardRemoved { host, decky } => Self::Shard(host.clone(), decky.clone()),
            Change::Operation(row) => Self::Operation(row.id),
            Change::OperationRemoved { id } => Self::Operation(*id),
            Change::Key(row) => Self::Idempotency(row.id.clone()),
            Change::KeyRemoved { id } => Self::Idempotency(id.clone()),
        }
    }
}

/// The latest change to each row, keyed by the row.
#[derive(Debug, Clone, Default)]
pub(crate) struct LatestChanges(pub(super) BTreeMap<RowKey, Change>);

impl LatestChanges {
    pub(super) fn insert(&mut self, change: Change) {
        self.0.insert(RowKey::from_change(&change), change);
    }

    /// Drops the changes that remove a row, so that only existing rows are left.
    pub(super) fn discard_removals(&mut self) {
        self.0.retain(|_, change| !is_removal(change));
    }
}

fn is_removal(change: &Change) -> bool {
    matches!(
        change,
        Change::ShardRemoved { .. } | Change::OperationRemoved { .. } | Change::KeyRemoved { .. }
    )
}
