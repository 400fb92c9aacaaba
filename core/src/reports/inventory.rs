//! Inventories: how pages become a whole one, and what a whole one does to the shards on record.

use std::collections::BTreeSet;
use std::sync::Arc;

use scuttle_schemas::agents::ReportedShard;
use scuttle_schemas::shards::ShardState;
use scuttle_schemas::{DeckyId, HostId, Timestamp};

use crate::record::change::Change;
use crate::record::rows::{ShardRow, not_reported};
use crate::state::State;
use crate::state::host::{Host, Shard, insert_shard};

impl State {
    /// Brings the record of a host in line with a whole inventory.
    pub(crate) fn apply_inventory(
        &mut self,
        now: Timestamp,
        id: &HostId,
        inventory: Vec<ReportedShard>,
        heard_before: Option<Timestamp>,
    ) {
        let Some(host) = self.hosts.get_mut(id) else {
            return;
        };
        host.inventory.applied = true;
        host.inventory.accepted_since.clear();
        host.inventory.wanted = false;
        let mut put = Vec::new();
        let mut removed = Vec::new();
        let reported: BTreeSet<DeckyId> = inventory
            .iter()
            .map(|shard| shard.decky_id.clone())
            .collect();
        for (decky, shard) in &mut host.shards {
            let listed = reported.contains(decky);
            if shard.listed && !listed {
                let seen = heard_before.unwrap_or(shard.row.last_seen);
                Arc::make_mut(&mut shard.row).last_seen = seen;
            }
            shard.listed = listed;
            if !listed {
                match unlisted(shard) {
                    Unlisted::Put(row) => put.push(row),
                    Unlisted::Remove => removed.push(decky.clone()),
                    Unlisted::Leave => {}
                }
            }
        }
        let next = self.meta.revisions.shards + 1;
        for shard in inventory {
            match listed(host, shard, now, next) {
                Listed::Put(row) => put.push(row),
                Listed::Keep(row) => {
                    let row = Arc::new(row);
                    self.batch.touch(id);
                    self.batch.changes.push(Change::Shard(Arc::clone(&row)));
                    insert_shard(&mut host.shards, &mut self.stats, row);
                }
                Listed::Same => {}
            }
        }
        self.change_shards(now, id, None, put, removed);
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

enum Unlisted {
    Put(ShardRow),
    Remove,
    Leave,
}

enum Listed {
    Put(ShardRow),
    /// Operators see no difference.
    Keep(ShardRow),
    Same,
}

/// A shard that a whole inventory no longer lists.
fn unlisted(shard: &Shard) -> Unlisted {
    match shard.row.state {
        ShardState::TeardownFailed => Unlisted::Remove,
        // Its operation decides, at the latest at its deadline.
        ShardState::TearingDown => Unlisted::Leave,
        ShardState::Pending | ShardState::Running | ShardState::Failed | ShardState::Degraded => {
            let row = not_reported(ShardRow::clone(&shard.row));
            if row == *shard.row {
                Unlisted::Leave
            } else {
                Unlisted::Put(row)
            }
        }
    }
}

/// The row of a shard that an inventory lists.
fn listed(host: &Host, shard: ReportedShard, now: Timestamp, next: u64) -> Listed {
    let known = host.shards.get(&shard.decky_id).map(|shard| &*shard.row);
    let (state, last_error) = match known {
        // An operation's states and errors are not an agent's to clear.
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
        revision: known.map_or(next, |row| row.revision),
        registered: known.map_or(next, |row| row.registered),
    };
    match known {
        Some(known) if row == *known => Listed::Same,
        Some(known) if same_but_reported(&row, known) => Listed::Keep(row),
        _ => Listed::Put(ShardRow {
            last_seen: now,
            ..row
        }),
    }
}

fn same_but_reported(row: &ShardRow, known: &ShardRow) -> bool {
    let row = ShardRow {
        reported: known.reported,
        ..row.clone()
    };
    row == *known
}
