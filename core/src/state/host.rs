//! One host in memory, with its shards: the stored rows, and data that is not stored.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use scuttle_schemas::hosts::{HostRecord, HostStatus};
use scuttle_schemas::shards::ShardRecord;
use scuttle_schemas::{BootId, DeckyId, OperationId, Timestamp};

use crate::record::rows::{HostRow, ShardRow};
use crate::state::delivery::Delivery;
use crate::state::host_clock::HostClock;
use crate::state::identifiers::HostIdentity;
use crate::state::inventory::Inventory;
use crate::state::stats::Stats;

/// One host and everything that belongs to it. A rule that has a reference to a `Host` cannot
/// access the shards of another host.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) row: HostRow,
    /// Whether the row in memory is newer than the stored row.
    pub(crate) row_unsaved: bool,
    pub(crate) shards: BTreeMap<DeckyId, Shard>,
    /// All operations of this host, open or ended.
    pub(crate) operations: BTreeSet<OperationId>,
    pub(crate) open_operations: BTreeSet<OperationId>,
    /// The open operations that the agent has started.
    pub(crate) running_operations: BTreeSet<OperationId>,
    pub(crate) progress: Option<Progress>,
    /// The start of the host's offline timeout: the arrival of its last heartbeat or, before the
    /// first heartbeat, the start of this process. `None` while no heartbeats are expected.
    pub(crate) last_heard: Option<Timestamp>,
    /// The time of the timer that checks whether heartbeats still arrive.
    pub(crate) liveness_check_at: Option<Timestamp>,
    /// The commands that the agent may still need: those of open operations, and those that cancel
    /// an operation before its deadline.
    pub(crate) deliveries: BTreeMap<OperationId, Delivery>,
    /// The boot of the agent for which a full resend was last requested.
    pub(crate) resent_to: Option<BootId>,
    pub(crate) last_full_resend_at: Option<Timestamp>,
    /// The time of the timer for a full resend that was requested soon after the last one.
    pub(crate) full_resend_due_at: Option<Timestamp>,
    /// The time at which the host was last announced on `hosts.updated` by this process.
    pub(crate) announced_at: Option<Timestamp>,
    pub(crate) inventory: Inventory,
    /// Whether the reports of the host's agent are not read, because it sends malformed messages.
    pub(crate) quarantined: bool,
    /// The time at which the agent was last able to read its inventory, as far as this process
    /// knows.
    pub(crate) inventory_seen_at: Option<Timestamp>,
    pub(crate) clock: HostClock,
    /// The last sender of a stale heartbeat from an earlier boot than the current one.
    pub(crate) earlier_agent: Option<EarlierAgent>,
}

/// One shard: its stored row, and data that is not stored.
#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) row: Arc<ShardRow>,
    /// Whether the shard is in the last full inventory that this process applied.
    pub(crate) listed: bool,
}

/// The progress that an agent last reported, which operators see in `waiting_for`. It is not
/// stored, and new progress alone causes no broadcast.
#[derive(Debug)]
pub(crate) struct Progress {
    pub(crate) operation: OperationId,
    /// The step as text, with the number of finished deckies, if known.
    pub(crate) step: String,
    pub(crate) reported_at: Timestamp,
}

/// The agent of a boot that is earlier than the current one, and whose heartbeats are stale.
#[derive(Debug)]
pub(crate) struct EarlierAgent {
    pub(crate) boot: BootId,
    /// The sequence number of its last heartbeat.
    pub(crate) sequence: u64,
    /// The time at which the agent is silent unless a heartbeat arrives first.
    pub(crate) silent_at: Timestamp,
    /// Whether two different stale heartbeats have shown that the agent is still running. A single
    /// stale heartbeat may be a late message of an agent that has ended.
    pub(crate) is_running: bool,
}

impl Host {
    pub(crate) fn new(row: HostRow) -> Self {
        Self {
            row,
            row_unsaved: false,
            shards: BTreeMap::new(),
            operations: BTreeSet::new(),
            open_operations: BTreeSet::new(),
            running_operations: BTreeSet::new(),
            progress: None,
            last_heard: None,
            liveness_check_at: None,
            deliveries: BTreeMap::new(),
            resent_to: None,
            last_full_resend_at: None,
            full_resend_due_at: None,
            announced_at: None,
            inventory: Inventory::default(),
            quarantined: false,
            inventory_seen_at: None,
            clock: HostClock::default(),
            earlier_agent: None,
        }
    }

    /// Returns the host's record, as lists and broadcasts contain it.
    pub(crate) fn to_record(&self) -> HostRecord {
        HostRecord {
            host_uuid: self.row.host.clone(),
            name: self.row.name.clone(),
            address: self.row.address.clone(),
            labels: self.row.labels.clone(),
            status: self.row.status,
            last_heartbeat: self.row.last_heartbeat,
            agent_version: self.row.agent_version.clone(),
            inventory_error: self.row.inventory_error.clone(),
            notes: self.row.notes.clone(),
            protected: self.row.protected,
            shards: self.shards.len(),
            open_operations: self.open_operations.len(),
            enrolled_at: self.row.enrolled_at,
        }
    }

    pub(crate) fn identity(&self) -> HostIdentity<'_> {
        HostIdentity::from(&self.row)
    }

    /// Returns whether the host is not decommissioned.
    pub(crate) fn is_active(&self) -> bool {
        self.row.status != HostStatus::Decommissioned
    }
}

impl Shard {
    /// Returns the shard's record, as lists and broadcasts contain it.
    pub(crate) fn to_record(
        &self,
        host: &HostRow,
        inventory_seen_at: Option<Timestamp>,
    ) -> ShardRecord {
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
            deployment: row.deployment.clone(),
            protected: row.is_protected_on(host),
            last_seen: self.last_seen(inventory_seen_at),
            updated_at: row.updated_at,
            revision: row.revision,
        }
    }

    /// Returns the time at which the agent last saw the shard. A heartbeat without an inventory
    /// means that nothing has changed, so the agent saw every shard in the last inventory again.
    pub(crate) fn last_seen(&self, inventory_seen_at: Option<Timestamp>) -> Timestamp {
        match inventory_seen_at {
            Some(at) if self.listed => at.max(self.row.last_seen),
            _ => self.row.last_seen,
        }
    }
}

/// Inserts or replaces a shard, and counts it in `stats`. Returns the shard, and whether it is new.
pub(crate) fn insert_shard<'s>(
    shards: &'s mut BTreeMap<DeckyId, Shard>,
    stats: &mut Stats,
    row: Arc<ShardRow>,
) -> (&'s Shard, bool) {
    match shards.entry(row.decky.clone()) {
        Entry::Occupied(entry) => {
            let shard = entry.into_mut();
            stats.count_shard(Some(shard.row.state), Some(row.state));
            shard.row = row;
            (shard, false)
        }
        Entry::Vacant(entry) => {
            stats.count_shard(None, Some(row.state));
            (entry.insert(Shard { row, listed: false }), true)
        }
    }
}

/// Removes a shard if it exists, and updates `stats`.
pub(crate) fn remove_shard(
    shards: &mut BTreeMap<DeckyId, Shard>,
    stats: &mut Stats,
    decky: &DeckyId,
) {
    if let Some(shard) = shards.remove(decky) {
        stats.count_shard(Some(shard.row.state), None);
    }
}
