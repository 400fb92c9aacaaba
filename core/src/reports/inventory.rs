//! Full inventories: applies an inventory to the shards in the record.

use std::collections::BTreeSet;
use std::sync::Arc;

use scuttle_schemas::agents::ReportedShard;
use scuttle_schemas::shards::ShardState;
use scuttle_schemas::{DeckyId, HostId, Timestamp};

use crate::broadcast::shard_changes::ShardChanges;
use crate::record::change::Change;
use crate::record::rows::ShardRow;
use crate::state::State;
use crate::state::host::{Host, Shard, insert_shard};

impl State {
    /// Updates the shards of a host to match a full inventory.
    ///
    /// `heartbeat_before` is the time at which the previous heartbeat arrived. A shard that is no
    /// longer listed was last seen at that time.
    pub(crate) fn apply_inventory(
        &mut self,
        now: Timestamp,
        id: &HostId,
        inventory: Vec<ReportedShard>,
        heartbeat_before: Option<Timestamp>,
    ) {
        let Some(host) = self.hosts.get_mut(id) else {
            return;
        };
        host.inventory.has_applied = true;
        host.inventory.operations_accepted_since.clear();
        host.inventory.is_requested = false;
        let mut put = Vec::new();
        let mut removed = Vec::new();
        let reported: BTreeSet<DeckyId> = inventory
            .iter()
            .map(|shard| shard.decky_id.clone())
            .collect();
        for (decky, shard) in &mut host.shards {
            let is_listed = reported.contains(decky);
            if shard.listed && !is_listed {
                let last_seen = heartbeat_before.unwrap_or(shard.row.last_seen);
                Arc::make_mut(&mut shard.row).last_seen = last_seen;
            }
            shard.listed = is_listed;
            if !is_listed {
                match decide_unlisted(shard) {
                    UnlistedShard::Put(row) => put.push(row),
                    UnlistedShard::Remove => removed.push(decky.clone()),
                    UnlistedShard::Keep => {}
                }
            }
        }
        let next_revision = self.meta.revisions.shards + 1;
        for shard in inventory {
            match decide_listed(host, shard, now, next_revision) {
                ListedShard::Put(row) => put.push(row),
                ListedShard::PutSilently(row) => {
                    let row = Arc::new(row);
                    self.batch.mark_host_changed(id);
                    self.batch.changes.push(Change::Shard(Arc::clone(&row)));
                    insert_shard(&mut host.shards, &mut self.stats, row);
                }
                ListedShard::Keep => {}
            }
        }
        let changes = ShardChanges {
            host: id,
            cause: None,
            put,
            removed,
        };
        self.change_shards(now, changes);
        if let Some(host) = self.hosts.get_mut(id) {
            for shard in host
                .shards
                .values_mut()
                .filter(|shard| reported.contains(&shard.row.decky))
            {
                shard.listed = true;
            }
        }
    }
}

/// The action for a shard that a full inventory does not list.
enum UnlistedShard {
    Put(ShardRow),
    Remove,
    Keep,
}

/// The action for a shard that a full inventory lists.
enum ListedShard {
    Put(ShardRow),
    /// A row to store without an announcement, because only the reported state has changed, which
    /// operators do not see.
    PutSilently(ShardRow),
    Keep,
}

fn decide_unlisted(shard: &Shard) -> UnlistedShard {
    match shard.row.state {
        ShardState::TeardownFailed => UnlistedShard::Remove,
        // The operation decides, at its deadline at the latest.
        ShardState::TearingDown => UnlistedShard::Keep,
        ShardState::Pending | ShardState::Running | ShardState::Failed | ShardState::Degraded => {
            let row = ShardRow::clone(&shard.row).into_unreported();
            if row == *shard.row {
                UnlistedShard::Keep
            } else {
                UnlistedShard::Put(row)
            }
        }
    }
}

fn decide_listed(
    host: &Host,
    shard: ReportedShard,
    now: Timestamp,
    next_revision: u64,
) -> ListedShard {
    let known = host.shards.get(&shard.decky_id).map(|shard| &*shard.row);
    let (state, last_error) = match known {
        // An inventory does not clear the state or the error that an operation has set.
        Some(row)
            if matches!(
                row.state,
                ShardState::TearingDown | ShardState::TeardownFailed
            ) =>
        {
            (row.state, row.last_error.clone())
        }
        _ => (ShardState::from(shard.state), None),
    };
    let row = ShardRow {
        host: host.row.host.clone(),
        decky: shard.decky_id,
        ip: shard.decky_ip,
        services: shard.services,
        labels: shard.labels,
        state,
        reported: shard.state,
        last_error,
        operation: known.and_then(|row| row.operation),
        last_seen: known.map_or(now, |row| row.last_seen),
        updated_at: known.map_or(now, |row| row.updated_at),
        revision: known.map_or(next_revision, |row| row.revision),
        registered: known.map_or(next_revision, |row| row.registered),
    };
    match known {
        Some(known) if row == *known => ListedShard::Keep,
        Some(known) if differs_only_in_reported(&row, known) => ListedShard::PutSilently(row),
        _ => ListedShard::Put(ShardRow {
            last_seen: now,
            ..row
        }),
    }
}

fn differs_only_in_reported(row: &ShardRow, known: &ShardRow) -> bool {
    let row = ShardRow {
        reported: known.reported,
        ..row.clone()
    };
    row == *known
}
