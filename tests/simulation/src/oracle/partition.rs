//! What the oracle knows about one partition. The rules that it checks are in the other files of this folder.

use std::collections::{BTreeMap, BTreeSet};

use scuttle_controller::partition::assignment::PartitionAssignment;
use scuttle_controller::store::StoreError;
use scuttle_core::Change;
use scuttle_schemas::hosts::HostStatus;
use scuttle_schemas::operations::OperationState;
use scuttle_schemas::{BootId, DeckyId, HostId, OperationId, Partition};

use crate::oracle::record::StoredValue;
use crate::oracle::reports::Report;
use crate::oracle::violation::{NOTHING_LOST, Violation};
use crate::state::agents::deckies::{ByDecky, RemovedGenerations};
use crate::state::partitioning::Partitioning;

/// What is known of a controller's term: of a process over a store of its own, from its start to its end.
#[derive(Debug, Clone, Default)]
pub(crate) struct TermFacts {
    /// What reached it.
    pub(crate) reports: Vec<Report>,
    /// Its epoch, once that is durable.
    pub(crate) epoch: Option<u64>,
    /// By broadcast subject, the last revision that it told, or that was durable when it began.
    pub(crate) last_revisions: [u64; 3],
}

/// All that the oracle knows of one partition.
#[derive(Debug)]
pub(crate) struct PartitionOracle {
    pub(crate) assignment: PartitionAssignment,
    pub(crate) record: StoredValue,
    pub(crate) append_count: u64,
    /// Appends that failed: durable or not, the next start shows.
    pub(crate) uncertain: Option<Vec<Change>>,
    /// By controller.
    pub(crate) terms: Vec<TermFacts>,
    /// Whose append is looked at.
    pub(crate) writer: usize,
    pub(crate) inventories: BTreeMap<(usize, BootId, u64), RemovedGenerations>,
    pub(crate) results: BTreeMap<(usize, OperationId), RemovedGenerations>,
    /// Through which generation each decky was removed when it left the record.
    pub(crate) removed: BTreeMap<(HostId, DeckyId), u64>,
    /// The same before this append, which may hold several results about one decky.
    pub(crate) removed_before_append: BTreeMap<(HostId, DeckyId), u64>,
    /// What each operation covers: deckies, and which registration of each.
    pub(crate) covered: BTreeMap<OperationId, ByDecky<u64>>,
    /// Simulated time at which each operation was made durable.
    pub(crate) accepted_at: BTreeMap<OperationId, u64>,
    /// By shard and revision, a digest of the row.
    pub(crate) row_digests: BTreeMap<(HostId, DeckyId, u64), u64>,
    /// By shard, the digests of its rows without their revisions, where another partition tells of them.
    pub(crate) relayed_digests: BTreeMap<(HostId, DeckyId), BTreeSet<u64>>,
    /// By broadcast subject and a digest of the message without its revisions, the revision that it has here.
    pub(crate) broadcast_revisions: [BTreeMap<u64, u64>; 3],
    /// By broadcast subject and revision, a digest of the message that became durable with it.
    pub(crate) broadcast_digests: [BTreeMap<u64, u64>; 3],
    /// By requester and key, the operation that was operations_by_key.
    pub(crate) operations_by_key: BTreeMap<(String, String), OperationId>,
    pub(crate) accepted_ids: BTreeSet<OperationId>,
    /// Hosts that the append that is looked at takes out of the swarm.
    pub(crate) departing: BTreeSet<HostId>,
    pub(crate) last_now: u64,
}

pub(crate) fn host_index(host: &HostId) -> usize {
    host.as_str()[1..].parse().unwrap_or(usize::MAX)
}

impl PartitionOracle {
    pub(crate) fn new(partitioning: Partitioning, partition: Partition) -> Self {
        Self {
            assignment: PartitionAssignment {
                partition,
                of: partitioning.count,
            },
            record: StoredValue::default(),
            append_count: 0,
            uncertain: None,
            terms: vec![TermFacts::default(); partitioning.controller_count()],
            writer: 0,
            inventories: BTreeMap::new(),
            results: BTreeMap::new(),
            removed: BTreeMap::new(),
            removed_before_append: BTreeMap::new(),
            covered: BTreeMap::new(),
            accepted_at: BTreeMap::new(),
            row_digests: BTreeMap::new(),
            relayed_digests: BTreeMap::new(),
            broadcast_revisions: Default::default(),
            broadcast_digests: Default::default(),
            operations_by_key: BTreeMap::new(),
            accepted_ids: BTreeSet::new(),
            departing: BTreeSet::new(),
            last_now: 0,
        }
    }

    pub(crate) fn note_report(&mut self, controller: usize, report: Report) {
        self.terms[controller].reports.push(report);
    }

    pub(crate) fn note_result(
        &mut self,
        host: usize,
        operation: OperationId,
        removed: RemovedGenerations,
    ) {
        self.results.insert((host, operation), removed);
    }

    pub(crate) fn note_inventory(
        &mut self,
        host: usize,
        report: (BootId, u64),
        removed: RemovedGenerations,
    ) {
        self.inventories.insert((host, report.0, report.1), removed);
    }

    /// A commit failed: what of it is durable is seen at the next start.
    pub(crate) fn note_failed_append(&mut self, changes: Vec<Change>) {
        self.uncertain = Some(changes);
    }

    pub(crate) fn store_unreadable(error: &StoreError) -> Result<(), Violation> {
        Err(Violation::new(
            NOTHING_LOST,
            format!("the store cannot be opened: {error}"),
        ))
    }

    /// A controller begins to lead.
    pub(crate) fn start_term(&mut self, controller: usize) {
        let revisions = self.record.meta.revisions;
        self.terms[controller] = TermFacts {
            last_revisions: [revisions.shards, revisions.hosts, revisions.operations],
            ..TermFacts::default()
        };
    }

    /// What reached whoever appended.
    pub(crate) fn reports(&self) -> &[Report] {
        &self.terms[self.writer].reports
    }
}

impl PartitionOracle {
    /// The operations that have not ended, as far as the disk tells.
    pub(crate) fn open_operations(&self) -> impl Iterator<Item = OperationId> {
        let open = |state| matches!(state, OperationState::Queued | OperationState::Running);
        self.record
            .operations
            .values()
            .filter(move |row| open(row.state))
            .map(|row| row.id)
    }

    pub(crate) fn is_enrolled(&self, host: &HostId) -> bool {
        let row = self.record.hosts.get(host);
        row.is_some_and(|row| row.status != HostStatus::Decommissioned)
    }

    pub(crate) fn is_online(&self, host: &HostId) -> bool {
        let row = self.record.hosts.get(host);
        row.is_some_and(|row| row.status == HostStatus::Online)
    }
}
