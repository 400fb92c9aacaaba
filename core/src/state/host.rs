//! One host in memory.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use scuttle_schemas::hosts::{HostRecord, HostStatus};
use scuttle_schemas::shards::ShardRecord;
use scuttle_schemas::{DeckyId, OperationId, Timestamp};

use crate::record::rows::{HostRow, ShardRow};
use crate::state::inventory::Inventory;
use crate::state::stats::Stats;

/// One host and all that is keyed by it: no rule can reach another host's shards from here.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) row: HostRow,
    /// The row in memory is ahead of the one on disk.
    pub(crate) unsaved: bool,
    pub(crate) shards: BTreeMap<DeckyId, Shard>,
    /// All its operations.
    pub(crate) operations: BTreeSet<OperationId>,
    /// Those that have not ended.
    pub(crate) open: BTreeSet<OperationId>,
    /// Those of them that its agent has started.
    pub(crate) running: BTreeSet<OperationId>,
    /// What its agent last said of its work.
    pub(crate) progress: Option<Progress>,
    /// When its agent was last heard by this process, or when this process began; none while its
    /// agent is not expected to be heard.
    pub(crate) heard: Option<Timestamp>,
    /// When a timer will look whether it is still heard.
    pub(crate) watched: Option<Timestamp>,
    /// This process has had a heartbeat of it.
    pub(crate) met: bool,
    pub(crate) inventory: Inventory,
    /// The last heartbeat to this process whose agent could see what is there.
    pub(crate) seen: Option<Timestamp>,
}

/// One shard and what this process knows beyond its row.
#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) row: Arc<ShardRow>,
    /// The last whole inventory that this process applied lists it.
    pub(crate) listed: bool,
}

impl Host {
    /// The record as operators see it.
    pub(crate) fn record(&self) -> HostRecord {
        HostRecord {
            host_uuid: self.row.host.clone(),
            name: self.row.name.clone(),
            address: self.row.address.clone(),
            labels: self.row.labels.clone(),
            status: self.row.status,
            last_heartbeat: self.row.last_heartbeat,
            agent_version: self.row.agent_version.clone(),
            inventory_error: self.row.inventory_error.clone(),
            shards: self.shards.len(),
            open_operations: self.open.len(),
            enrolled_at: self.row.enrolled_at,
        }
    }

    pub(crate) fn living(&self) -> bool {
        self.row.status != HostStatus::Decommissioned
    }
}

impl Shard {
    /// The record as operators see it.
    pub(crate) fn record(&self, host: &HostRow, seen: Option<Timestamp>) -> ShardRecord {
        let row = &self.row;
        ShardRecord {
            host_uuid: row.host.clone(),
            host_name: host.name.clone(),
            decky_id: row.decky.clone(),
            decky_ip: row.ip.clone(),
            services: row.services.clone(),
            labels: row.labels.clone(),
            state: row.state,
            last_error: row.last_error.clone(),
            operation_id: row.operation,
            last_seen: self.last_seen(seen),
            updated_at: row.updated_at,
            revision: row.revision,
        }
    }

    /// A shard that the last inventory lists is seen whenever its host's agent has `seen` what is there.
    pub(crate) fn last_seen(&self, seen: Option<Timestamp>) -> Timestamp {
        match seen {
            Some(seen) if self.listed => seen.max(self.row.last_seen),
            _ => self.row.last_seen,
        }
    }
}

/// What an agent last said of its work: for operators who ask, kept nowhere else.
#[derive(Debug)]
pub(crate) struct Progress {
    pub(crate) operation: OperationId,
    /// In words: `removing`, and how many of how many deckies are done.
    pub(crate) step: String,
    pub(crate) said_at: Timestamp,
}

/// Puts a row among a host's shards; answers whether the shard is new.
pub(crate) fn insert_shard<'s>(
    shards: &'s mut BTreeMap<DeckyId, Shard>,
    stats: &mut Stats,
    row: Arc<ShardRow>,
) -> (&'s Shard, bool) {
    match shards.entry(row.decky.clone()) {
        Entry::Occupied(entry) => {
            let shard = entry.into_mut();
            stats.shard(Some(shard.row.state), Some(row.state));
            shard.row = row;
            (shard, false)
        }
        Entry::Vacant(entry) => {
            stats.shard(None, Some(row.state));
            (entry.insert(Shard { row, listed: false }), true)
        }
    }
}

/// Takes a shard from among a host's.
pub(crate) fn remove_shard(
    shards: &mut BTreeMap<DeckyId, Shard>,
    stats: &mut Stats,
    decky: &DeckyId,
) {
    if let Some(shard) = shards.remove(decky) {
        stats.shard(Some(shard.row.state), None);
    }
}
