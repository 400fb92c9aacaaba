//! The state in memory, and the only functions that change it: each keeps the indexes in step with the
//! rows, and notes what the batch's commit must write and tell.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use scuttle_schemas::hosts::HostStatus;
use scuttle_schemas::{HostId, HostName, OperationId, Partition, Timestamp};

use crate::record::rows::{Meta, OperationRow, Revisions};
use crate::state::batch::Batch;
use crate::state::host::Host;
use crate::state::keys::Keys;
use crate::state::stats::Stats;
use crate::state::timers::{Beacons, Timer};

pub(crate) mod batch;
pub(crate) mod host;
mod insert;
pub mod invariants;
pub(crate) mod inventory;
pub(crate) mod keys;
pub(crate) mod replay;
pub(crate) mod stats;
pub(crate) mod timers;
mod waiting_for;

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
    pub(crate) stats: Stats,
    pub(crate) keys: Keys,
    pub(crate) timers: BTreeSet<(Timestamp, Timer)>,
    pub(crate) beacons: Beacons,
    /// The last revision that each other partition is known to have told.
    pub(crate) relayed: BTreeMap<Partition, Revisions>,
    /// What the clock showed at the last step.
    pub(crate) looked_at: Timestamp,
    pub(crate) batch: Batch,
}

/// What the shell asks.
impl State {
    /// The epoch of this start.
    pub fn epoch(&self) -> u64 {
        self.meta.epoch
    }

    /// Every host with its status.
    pub fn host_statuses(&self) -> impl Iterator<Item = (&HostId, HostStatus)> {
        self.hosts.iter().map(|(id, host)| (id, host.row.status))
    }

    /// How many hosts, shards and open operations there are: for a line in the log.
    pub fn row_counts(&self) -> (usize, usize, usize) {
        let shards = self.hosts.values().map(|host| host.shards.len()).sum();
        let open = self.hosts.values().map(|host| host.open.len()).sum();
        (self.hosts.len(), shards, open)
    }

    /// The record in numbers, at the cost of copying them.
    pub fn stats(&self) -> Stats {
        let oldest = self.open.first().and_then(|id| self.operations.get(id));
        Stats {
            oldest_open_accepted_at: oldest.map(|row| row.accepted_at),
            next_deadline: self.next_deadline(),
            ..self.stats
        }
    }
}
