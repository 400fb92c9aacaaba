//! Inventories: how pages become a whole one, and what a whole one does to the shards on record.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use scuttle_schemas::agents::{Heartbeat, ReportedShard};
use scuttle_schemas::shards::ShardState;
use scuttle_schemas::{
    DeckyId, ErrorCode, HostId, MAX_DECKIES_PER_HOST, OperationId, Refusal, Text, Timestamp,
};

use crate::change::Change;
use crate::rows::{Report, ShardRow};
use crate::state::{Host, Shard, State, insert_shard};

const NOT_REPORTED: &str = "not reported by its agent";

/// What this process knows of a host's inventory.
#[derive(Debug, Default)]
pub(crate) struct Inventory {
    /// This process has applied a whole one.
    pub(crate) applied: bool,
    /// The report that the applied one came with.
    pub(crate) report: Option<Report>,
    /// The operations that were accepted since: of them it proves nothing. (No clock says so: one that
    /// jumps back would call an old inventory new.)
    pub(crate) accepted_since: BTreeSet<OperationId>,
    /// A new one is needed, whatever was applied before.
    pub(crate) wanted: bool,
    pages: Option<Pages>,
}

/// The pages of one inventory that have come so far: at most `MAX_DECKIES_PER_HOST` deckies in all.
#[derive(Debug)]
struct Pages {
    report: Report,
    of: u32,
    come: BTreeMap<u32, Vec<ReportedShard>>,
}

impl Inventory {
    /// Whether a whole one came since an open operation was accepted.
    pub(crate) fn is_newer_than(&self, operation: OperationId) -> bool {
        self.applied && !self.accepted_since.contains(&operation)
    }

    /// Drops pages of a report older than this one: their inventory will not be whole.
    pub(crate) fn drop_pages_before(&mut self, report: Report) {
        if self.pages.take_if(|pages| pages.report < report).is_some() {
            self.wanted = true;
        }
    }

    /// Takes one page in. Returns the inventory once it is whole.
    pub(crate) fn take_page(
        &mut self,
        report: Report,
        heartbeat: Heartbeat,
    ) -> Result<Option<Vec<ReportedShard>>, Refusal> {
        let Some(shards) = heartbeat.shards else {
            return Ok(None);
        };
        let whole = if heartbeat.pages == 1 {
            shards
        } else {
            let kept = self
                .pages
                .take()
                .filter(|pages| pages.report == report && pages.of == heartbeat.pages);
            let mut pages = kept.unwrap_or(Pages {
                report,
                of: heartbeat.pages,
                come: BTreeMap::new(),
            });
            pages.come.insert(heartbeat.page, shards);
            let deckies: usize = pages.come.values().map(Vec::len).sum();
            if deckies <= MAX_DECKIES_PER_HOST && pages.come.len() < pages.of as usize {
                self.pages = Some(pages);
                return Ok(None);
            }
            pages.come.into_values().flatten().collect()
        };
        let distinct: BTreeSet<&DeckyId> = whole.iter().map(|shard| &shard.decky_id).collect();
        if whole.len() > MAX_DECKIES_PER_HOST || distinct.len() < whole.len() {
            self.wanted = true;
            return Err(Refusal::new(
                ErrorCode::BadRequest,
                format!("an inventory lists at most {MAX_DECKIES_PER_HOST} deckies, each once"),
            ));
        }
        Ok(Some(whole))
    }
}

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
                    insert_shard(&mut host.shards, &mut self.census, row);
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

/// The row of a shard that its agent no longer reports.
pub(crate) fn not_reported(row: ShardRow) -> ShardRow {
    ShardRow {
        state: ShardState::Degraded,
        last_error: Some(Text::from(NOT_REPORTED)),
        ..row
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
