//! The oracle's knowledge about one partition. The rules that the oracle checks are in the other
//! files of this folder.

use std::collections::{BTreeMap, BTreeSet};

use scuttle_controller::partition::assignment::PartitionAssignment;
use scuttle_controller::store::StoreError;
use scuttle_core::{Change, ReportId};
use scuttle_schemas::agents::Evidence;
use scuttle_schemas::hosts::HostStatus;
use scuttle_schemas::operations::OperationState;
use scuttle_schemas::protection::ProtectRequest;
use scuttle_schemas::{BootId, DeckyId, Deployment, HostId, OperationId, Partition};

use crate::oracle::record::Record;
use crate::oracle::reports::Report;
use crate::oracle::violation::{NOTHING_LOST, Violation};
use crate::state::agents::deckies::{ByDecky, RemovedGenerations};
use crate::state::partitioning::Partitioning;

/// The oracle's knowledge about a leader's term. With a local store, the term lasts as long as the
/// process.
#[derive(Debug, Clone, Default)]
pub(crate) struct TermFacts {
    /// The reports that have reached the controller during the term.
    pub(crate) reports: Vec<Report>,
    /// The requests to change a protection that have reached the controller during the term.
    pub(crate) protect_requests: Vec<ProtectRequest>,
    /// The controller's epoch, or `None` until the epoch is durable.
    pub(crate) epoch: Option<u64>,
    /// For each broadcast subject, the last revision that was sent, or that was durable at the
    /// start of the term.
    pub(crate) last_revisions: [u64; 3],
}

/// The oracle's knowledge about one partition.
#[derive(Debug)]
pub(crate) struct PartitionOracle {
    pub(crate) assignment: PartitionAssignment,
    pub(crate) record: Record,
    pub(crate) append_count: u64,
    /// The changes of a failed append, until the next start shows whether they are durable.
    pub(crate) uncertain: Option<Vec<Change>>,
    /// The current or last term of each controller, by controller index.
    pub(crate) terms: Vec<TermFacts>,
    /// The controller whose append is being checked.
    pub(crate) writer: usize,
    pub(crate) inventories: BTreeMap<(usize, BootId, u64), RemovedGenerations>,
    pub(crate) results: BTreeMap<(usize, OperationId), RemovedGenerations>,
    /// For each decky that has left the record, its last generation (deployment) that is known to
    /// have been removed.
    pub(crate) removed: BTreeMap<(HostId, DeckyId), u64>,
    /// The value of `removed` before the current append, which may hold several results for one
    /// decky.
    pub(crate) removed_before_append: BTreeMap<(HostId, DeckyId), u64>,
    /// For each operation, the deckies that it covers, each with the number of the append that
    /// registered the decky.
    pub(crate) covered: BTreeMap<OperationId, ByDecky<u64>>,
    /// For each operation, the deployments that it took over from the record, where known.
    pub(crate) taken_over: BTreeMap<OperationId, ByDecky<Deployment>>,
    /// For each shard, the first report that listed its current deployment.
    pub(crate) first_listings: BTreeMap<(HostId, DeckyId), ReportId>,
    /// The targets of each plan in a reply to a dry run, with their deployments.
    pub(crate) plans: BTreeMap<String, ByDecky<Option<Deployment>>>,
    /// The time in simulated milliseconds at which each operation became durable.
    pub(crate) accepted_at: BTreeMap<OperationId, u64>,
    /// A digest of each shard row that was ever durable, by shard and revision.
    pub(crate) row_digests: BTreeMap<(HostId, DeckyId, u64), u64>,
    /// For each shard, the digests of its durable rows without their revisions. The oracle compares
    /// them with the shard records that the first partition relays.
    pub(crate) relayed_digests: BTreeMap<(HostId, DeckyId), BTreeSet<u64>>,
    /// For each broadcast subject, the revision of each message. The key is a digest of the message
    /// without its revisions.
    pub(crate) broadcast_revisions: [BTreeMap<u64, u64>; 3],
    /// For each broadcast subject, a digest of each committed message. The key is the revision of
    /// the message.
    pub(crate) broadcast_digests: [BTreeMap<u64, u64>; 3],
    /// The operation in the reply to each request with an idempotency key, by requester and key.
    pub(crate) operations_by_key: BTreeMap<(String, String), OperationId>,
    pub(crate) accepted_ids: BTreeSet<OperationId>,
    /// The hosts that the current append decommissions.
    pub(crate) departing: BTreeSet<HostId>,
    /// The hosts that were ever decommissioned.
    pub(crate) ever_departed: BTreeSet<HostId>,
    /// The evidence in each result that an agent has sent.
    pub(crate) evidence: BTreeMap<OperationId, ByDecky<Evidence>>,
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
                partitions: partitioning.count,
            },
            record: Record::default(),
            append_count: 0,
            uncertain: None,
            terms: vec![TermFacts::default(); partitioning.controller_count()],
            writer: 0,
            inventories: BTreeMap::new(),
            results: BTreeMap::new(),
            removed: BTreeMap::new(),
            removed_before_append: BTreeMap::new(),
            covered: BTreeMap::new(),
            taken_over: BTreeMap::new(),
            first_listings: BTreeMap::new(),
            plans: BTreeMap::new(),
            accepted_at: BTreeMap::new(),
            row_digests: BTreeMap::new(),
            relayed_digests: BTreeMap::new(),
            broadcast_revisions: Default::default(),
            broadcast_digests: Default::default(),
            operations_by_key: BTreeMap::new(),
            accepted_ids: BTreeSet::new(),
            departing: BTreeSet::new(),
            ever_departed: BTreeSet::new(),
            evidence: BTreeMap::new(),
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
        boot: BootId,
        sequence: u64,
        removed: RemovedGenerations,
    ) {
        self.inventories.insert((host, boot, sequence), removed);
    }

    /// Notes the changes of a failed commit. The next start shows whether they are durable.
    pub(crate) fn note_failed_append(&mut self, changes: Vec<Change>) {
        self.uncertain = Some(changes);
    }

    pub(crate) fn store_unreadable(error: &StoreError) -> Result<(), Violation> {
        Err(Violation::new(
            NOTHING_LOST,
            format!("the store cannot be opened: {error}"),
        ))
    }

    pub(crate) fn start_term(&mut self, controller: usize) {
        let revisions = self.record.meta.revisions;
        self.terms[controller] = TermFacts {
            last_revisions: [revisions.shards, revisions.hosts, revisions.operations],
            ..TermFacts::default()
        };
    }

    /// Returns the reports that reached the controller whose append is being checked.
    pub(crate) fn reports(&self) -> &[Report] {
        &self.terms[self.writer].reports
    }

    /// Returns the operations that have not ended, according to the durable record.
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
