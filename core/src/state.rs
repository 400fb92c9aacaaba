//! The state in memory, and the only functions that change it: each keeps the indexes in step with the
//! rows, and notes what the batch's commit must write and tell.

use std::collections::{BTreeMap, BTreeSet};

use scuttle_schemas::hosts::{HostRecord, HostStatus};
use scuttle_schemas::operations::OperationState;
use scuttle_schemas::shards::ShardRecord;
use scuttle_schemas::{DeckyId, HostId, HostName, OperationId, Timestamp};

use crate::change::Change;
use crate::inventory::Inventory;
use crate::rows::{HostRow, Meta, OperationRow, ShardRow};
use crate::step::Effect;
use crate::tick::{Beacons, Timer};

/// The swarm's record, whole, in memory.
#[derive(Debug, Default)]
pub struct State {
    pub(crate) meta: Meta,
    pub(crate) hosts: BTreeMap<HostId, Host>,
    /// The living hosts by name.
    pub(crate) names: BTreeMap<HostName, HostId>,
    /// By id, which is by age.
    pub(crate) operations: BTreeMap<OperationId, OperationRow>,
    pub(crate) timers: BTreeSet<(Timestamp, Timer)>,
    pub(crate) beacons: Beacons,
    /// What this step asks for so far.
    pub(crate) effects: Vec<Effect>,
    pub(crate) batch: Batch,
}

/// What the commit of this batch must write and tell.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) changes: Vec<Change>,
    /// Operations to write and tell.
    pub(crate) operations: BTreeSet<OperationId>,
    /// Hosts that had a durable change.
    pub(crate) touched: BTreeSet<HostId>,
    /// The swarm's own row changed by itself.
    pub(crate) meta: bool,
    /// Hosts to tell.
    pub(crate) told: BTreeSet<HostId>,
}

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
    /// When its agent was last heard by this process, or when this process began; none while its
    /// agent is not expected to be heard.
    pub(crate) heard: Option<Timestamp>,
    /// When a timer will look whether it is still heard.
    pub(crate) watched: Option<Timestamp>,
    /// This process has had a heartbeat of it.
    pub(crate) met: bool,
    pub(crate) inventory: Inventory,
}

/// One shard and what this process knows beyond its row.
#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) row: ShardRow,
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
            shards: self.shards.len(),
            open_operations: self.open.len(),
            enrolled_at: self.row.enrolled_at,
        }
    }

    /// A shard's record as operators see it.
    pub(crate) fn shard_record(&self, shard: &Shard) -> ShardRecord {
        let row = &shard.row;
        ShardRecord {
            host_uuid: row.host.clone(),
            host_name: self.row.name.clone(),
            decky_id: row.decky.clone(),
            decky_ip: row.ip.clone(),
            services: row.services.clone(),
            labels: row.labels.clone(),
            state: row.state,
            last_error: row.last_error.clone(),
            operation_id: row.operation,
            last_seen: self.last_seen(shard),
            updated_at: row.updated_at,
            revision: row.revision,
        }
    }

    /// A shard that the last inventory lists is seen with every heartbeat.
    pub(crate) fn last_seen(&self, shard: &Shard) -> Timestamp {
        match self.row.last_heartbeat {
            Some(heartbeat) if shard.listed => heartbeat.max(shard.row.last_seen),
            _ => shard.row.last_seen,
        }
    }

    pub(crate) fn living(&self) -> bool {
        self.row.status != HostStatus::Decommissioned
    }
}

/// Whether an operation in this state still waits for its end.
pub(crate) fn is_open(state: OperationState) -> bool {
    match state {
        OperationState::Queued | OperationState::Running => true,
        OperationState::Succeeded
        | OperationState::Failed
        | OperationState::TimedOut
        | OperationState::Cancelled => false,
    }
}

/// Rows into memory: what replay and the steps below share.
impl State {
    pub(crate) fn insert_host(&mut self, row: HostRow) {
        if row.status != HostStatus::Decommissioned {
            self.names.insert(row.name.clone(), row.host.clone());
        }
        if let Some(host) = self.hosts.get_mut(&row.host) {
            host.row = row;
            return;
        }
        let host = Host {
            row,
            unsaved: false,
            shards: BTreeMap::new(),
            operations: BTreeSet::new(),
            open: BTreeSet::new(),
            heard: None,
            watched: None,
            met: false,
            inventory: Inventory::default(),
        };
        self.hosts.insert(host.row.host.clone(), host);
    }

    pub(crate) fn insert_shard(&mut self, row: ShardRow) {
        let Some(host) = self.hosts.get_mut(&row.host) else {
            return;
        };
        match host.shards.get_mut(&row.decky) {
            Some(shard) => shard.row = row,
            None => {
                host.shards
                    .insert(row.decky.clone(), Shard { row, listed: false });
            }
        }
    }

    pub(crate) fn delete_shard(&mut self, host: &HostId, decky: &DeckyId) {
        if let Some(host) = self.hosts.get_mut(host) {
            host.shards.remove(decky);
        }
    }

    pub(crate) fn insert_operation(&mut self, row: OperationRow) {
        if let Some(before) = self.operations.get(&row.id) {
            self.timers
                .remove(&(before.wakes_at(), Timer::Operation(row.id)));
        }
        if let Some(host) = self.hosts.get_mut(&row.host) {
            host.operations.insert(row.id);
            if is_open(row.state) {
                host.open.insert(row.id);
                self.timers
                    .insert((row.wakes_at(), Timer::Operation(row.id)));
            } else {
                host.open.remove(&row.id);
            }
        }
        self.operations.insert(row.id, row);
    }
}

/// Changes of a step: into memory, and noted for the commit.
impl State {
    /// Puts a host's row; operators are told.
    pub(crate) fn put_host(&mut self, row: HostRow) {
        let id = row.host.clone();
        self.insert_host(row);
        if let Some(host) = self.hosts.get_mut(&id) {
            host.unsaved = true;
        }
        self.batch.told.insert(id.clone());
        self.batch.touched.insert(id);
    }

    /// Puts a shard's row. Only `broadcast` calls this: it gives the row its revision.
    pub(crate) fn put_shard(&mut self, row: ShardRow) {
        let new = self
            .hosts
            .get(&row.host)
            .is_some_and(|host| !host.shards.contains_key(&row.decky));
        if new {
            self.batch.told.insert(row.host.clone());
        }
        self.batch.touched.insert(row.host.clone());
        self.batch.changes.push(Change::Shard(row.clone()));
        self.insert_shard(row);
    }

    /// Removes a shard's row. Only `broadcast` calls this: it tells the removal.
    pub(crate) fn remove_shard(&mut self, host: &HostId, decky: &DeckyId) {
        self.batch.told.insert(host.clone());
        self.batch.touched.insert(host.clone());
        self.batch.changes.push(Change::ShardRemoved {
            host: host.clone(),
            decky: decky.clone(),
        });
        self.delete_shard(host, decky);
    }

    /// Puts an operation's row; operators are told.
    pub(crate) fn put_operation(&mut self, row: OperationRow) {
        let (id, host) = (row.id, row.host.clone());
        let before = self.hosts.get(&host).map(|host| host.open.len());
        self.insert_operation(row);
        if before != self.hosts.get(&host).map(|host| host.open.len()) {
            self.batch.told.insert(host.clone());
        }
        self.batch.operations.insert(id);
        self.batch.touched.insert(host);
    }
}

/// What the shell asks.
impl State {
    /// The epoch of this start.
    pub fn epoch(&self) -> u64 {
        self.meta.epoch
    }

    /// How many hosts, shards and open operations there are: for a line in the log.
    pub fn size(&self) -> (usize, usize, usize) {
        let shards = self.hosts.values().map(|host| host.shards.len()).sum();
        let open = self.hosts.values().map(|host| host.open.len()).sum();
        (self.hosts.len(), shards, open)
    }
}
