//! The state in memory, and the only functions that change it: each keeps the indexes in step with the
//! rows, and notes what the batch's commit must write and tell.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};
use std::sync::Arc;

use scuttle_schemas::hosts::{HostRecord, HostStatus};
use scuttle_schemas::operations::OperationState;
use scuttle_schemas::shards::ShardRecord;
use scuttle_schemas::{DeckyId, HostId, HostName, OperationId, Partition, Timestamp};

use crate::broadcast::Telling;
use crate::census::Census;
use crate::change::Change;
use crate::idempotency::Keys;
use crate::inventory::Inventory;
use crate::progress::Progress;
use crate::rows::{HostRow, Meta, OperationRow, Revisions, ShardRow};
use crate::step::Effect;
use crate::tick::{Beacons, Timer};

/// The swarm's record, whole, in memory.
#[derive(Debug, Default)]
pub struct State {
    pub(crate) meta: Meta,
    /// Boxed, so that the names, which each search reads, are close together.
    pub(crate) hosts: BTreeMap<HostId, Box<Host>>,
    /// The living hosts by name.
    pub(crate) names: BTreeMap<HostName, HostId>,
    /// By id, which is by age.
    pub(crate) operations: BTreeMap<OperationId, Arc<OperationRow>>,
    /// Those that have ended, by when.
    pub(crate) ended: BTreeSet<(Timestamp, OperationId)>,
    /// Those that have not ended.
    pub(crate) open: BTreeSet<OperationId>,
    /// How many rows there are, counted as they come and go.
    pub(crate) census: Census,
    pub(crate) keys: Keys,
    pub(crate) timers: BTreeSet<(Timestamp, Timer)>,
    pub(crate) beacons: Beacons,
    /// The last revision that each other partition is known to have told.
    pub(crate) relayed: BTreeMap<Partition, Revisions>,
    /// What the clock showed at the last step.
    pub(crate) looked_at: Timestamp,
    pub(crate) batch: Batch,
}

/// What the commit of this batch must write and tell.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) changes: Vec<Change>,
    /// What the steps asked for so far.
    pub(crate) effects: Vec<Effect>,
    /// The last of them, as long as more can be told with it.
    pub(crate) telling: Option<Telling>,
    /// Operations to write, as they now are, and whether to tell them.
    pub(crate) operations: BTreeMap<OperationId, (Arc<OperationRow>, bool)>,
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

impl Batch {
    /// Notes a durable change of a host.
    pub(crate) fn touch(&mut self, host: &HostId) {
        if !self.touched.contains(host) {
            self.touched.insert(host.clone());
        }
    }

    /// Notes that operators are to be told of a host.
    pub(crate) fn tell(&mut self, host: &HostId) {
        if !self.told.contains(host) {
            self.told.insert(host.clone());
        }
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
        } else if self.names.get(&row.name) == Some(&row.host) {
            self.names.remove(&row.name);
        }
        let before = self.hosts.get(&row.host).map(|host| host.row.status);
        self.census.host(before, row.status);
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
            running: BTreeSet::new(),
            progress: None,
            heard: None,
            watched: None,
            met: false,
            inventory: Inventory::default(),
            seen: None,
        };
        self.hosts.insert(host.row.host.clone(), Box::new(host));
    }

    /// Puts an operation's row; answers whether its host now has another number of open ones.
    pub(crate) fn insert_operation(&mut self, row: &Arc<OperationRow>) -> bool {
        let id = row.id;
        let before = self.operations.insert(id, Arc::clone(row));
        if let Some(before) = &before {
            self.forget_times(before);
        }
        let was = before.as_ref().map(|before| before.state);
        self.census.operation(was, row.state);
        if is_open(row.state) {
            self.open.insert(id);
        } else {
            self.open.remove(&id);
        }
        let Some(host) = self.hosts.get_mut(&row.host) else {
            return false;
        };
        if before.is_none() {
            host.operations.insert(id);
            host.inventory.accepted_since.insert(id);
        }
        if let Some(at) = row.wakes_at() {
            self.timers.insert((at, Timer::Operation(id)));
        }
        if let Some(at) = row.finished_at {
            self.ended.insert((at, id));
        }
        if row.state == OperationState::Running {
            host.running.insert(id);
        } else {
            host.running.remove(&id);
        }
        if is_open(row.state) {
            host.open.insert(id)
        } else {
            host.inventory.accepted_since.remove(&id);
            host.open.remove(&id)
        }
    }

    pub(crate) fn delete_operation(&mut self, id: OperationId) {
        let Some(row) = self.operations.remove(&id) else {
            return;
        };
        self.forget_times(&row);
        self.census.operation_removed(row.state);
        self.open.remove(&id);
        if let Some(host) = self.hosts.get_mut(&row.host) {
            host.operations.remove(&id);
            host.open.remove(&id);
            host.running.remove(&id);
        }
    }

    fn forget_times(&mut self, row: &OperationRow) {
        if let Some(at) = row.wakes_at() {
            self.timers.remove(&(at, Timer::Operation(row.id)));
        }
        if let Some(at) = row.finished_at {
            self.ended.remove(&(at, row.id));
        }
    }
}

/// Puts a row among a host's shards; answers whether the shard is new.
pub(crate) fn insert_shard<'s>(
    shards: &'s mut BTreeMap<DeckyId, Shard>,
    census: &mut Census,
    row: Arc<ShardRow>,
) -> (&'s Shard, bool) {
    match shards.entry(row.decky.clone()) {
        Entry::Occupied(entry) => {
            let shard = entry.into_mut();
            census.shard(Some(shard.row.state), Some(row.state));
            shard.row = row;
            (shard, false)
        }
        Entry::Vacant(entry) => {
            census.shard(None, Some(row.state));
            (entry.insert(Shard { row, listed: false }), true)
        }
    }
}

/// Takes a shard from among a host's.
pub(crate) fn remove_shard(
    shards: &mut BTreeMap<DeckyId, Shard>,
    census: &mut Census,
    decky: &DeckyId,
) {
    if let Some(shard) = shards.remove(decky) {
        census.shard(Some(shard.row.state), None);
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
        self.batch.tell(&id);
        self.batch.touch(&id);
    }

    /// Puts an operation's row; operators are told.
    pub(crate) fn put_operation(&mut self, row: OperationRow) {
        let row = Arc::new(row);
        if self.insert_operation(&row) {
            self.batch.tell(&row.host);
        }
        self.batch.touch(&row.host);
        self.batch.operations.insert(row.id, (row, true));
    }

    /// Puts an operation's row whose change operators do not see.
    pub(crate) fn keep_operation(&mut self, row: OperationRow) {
        let row = Arc::new(row);
        self.insert_operation(&row);
        let told = |(_, told): &(_, bool)| *told;
        let told = self.batch.operations.get(&row.id).is_some_and(told);
        self.batch.operations.insert(row.id, (row, told));
    }
}

/// What the shell asks.
impl State {
    /// The epoch of this start.
    pub fn epoch(&self) -> u64 {
        self.meta.epoch
    }

    /// Every host with its status.
    pub fn statuses(&self) -> impl Iterator<Item = (&HostId, HostStatus)> {
        self.hosts.iter().map(|(id, host)| (id, host.row.status))
    }

    /// How many hosts, shards and open operations there are: for a line in the log.
    pub fn size(&self) -> (usize, usize, usize) {
        let shards = self.hosts.values().map(|host| host.shards.len()).sum();
        let open = self.hosts.values().map(|host| host.open.len()).sum();
        (self.hosts.len(), shards, open)
    }
}
