//! The record in memory, with its indexes and the current batch.
//!
//! This module contains only data, and the functions that keep the indexes consistent with the rows
//! (`insert`). The rules that decide on a change are in `requests`, `reports` and `time`.

pub(crate) mod batch;
pub(crate) mod delivery;
pub(crate) mod earlier_agent;
pub(crate) mod host;
pub(crate) mod host_clock;
pub mod identifiers;
mod insert;
pub mod invariants;
pub(crate) mod inventory;
pub(crate) mod keys;
pub(crate) mod late_announcements;
pub(crate) mod replay;
pub mod stats;
pub(crate) mod timers;
mod waiting_for;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use scuttle_schemas::hosts::HostStatus;
use scuttle_schemas::{HostId, OperationId, Partition, Timestamp};
use uuid::Uuid;

use crate::message_limits::MessageLimits;
use crate::record::rows::{Meta, OperationRow, Revisions};
use crate::state::batch::Batch;
use crate::state::host::Host;
use crate::state::identifiers::Identifiers;
use crate::state::keys::IdempotencyKeys;
use crate::state::late_announcements::LateAnnouncements;
use crate::state::stats::{RowCounts, Stats};
use crate::state::timers::{IdleRepeats, Timer};

/// The complete record of one partition, in memory.
#[derive(Debug, Default)]
pub struct State {
    pub(crate) meta: Meta,
    /// The hosts by id. Each host is boxed, so that the keys, which every lookup compares, are
    /// close together in memory.
    pub(crate) hosts: BTreeMap<HostId, Box<Host>>,
    pub(crate) identifiers: Identifiers,
    /// The operations, sorted by id and so by time of acceptance.
    pub(crate) operations: BTreeMap<OperationId, Arc<OperationRow>>,
    /// The operations that have ended, sorted by the time at which they ended.
    pub(crate) ended_operations: BTreeSet<(Timestamp, OperationId)>,
    pub(crate) open_operations: BTreeSet<OperationId>,
    pub(crate) stats: Stats,
    pub(crate) idempotency_keys: IdempotencyKeys,
    pub(crate) timers: BTreeSet<(Timestamp, Timer)>,
    pub(crate) idle_repeats: IdleRepeats,
    pub(crate) late_announcements: LateAnnouncements,
    /// The last relayed revisions, for each partition whose broadcasts this partition relays.
    pub(crate) relayed_revisions: BTreeMap<Partition, Revisions>,
    /// The time of the last step, for detecting that the clock was set back.
    pub(crate) last_step_at: Timestamp,
    pub(crate) batch: Batch,
}

impl State {
    /// Sets the limits of all messages that the next steps produce.
    pub fn set_message_limits(&mut self, limits: MessageLimits) {
        self.batch.limits = limits;
    }

    /// Returns the `controller_epoch`, which rises with every start and takeover.
    pub fn epoch(&self) -> u64 {
        self.meta.epoch
    }

    /// Returns the identity of the record. Returns `None` if the record has never been served, or
    /// was last served by version 0.1.0.
    pub fn record(&self) -> Option<Uuid> {
        self.meta.record
    }

    /// Gives the identity `new` to a record that has no identity, and returns the record's
    /// identity. A new identity is saved by the commit of the next [`Input::Start`](crate::Input).
    pub fn ensure_record(&mut self, new: Uuid) -> Uuid {
        *self.meta.record.get_or_insert(new)
    }

    /// Returns every host with its status.
    pub fn host_statuses(&self) -> impl Iterator<Item = (&HostId, HostStatus)> {
        self.hosts.iter().map(|(id, host)| (id, host.row.status))
    }

    /// Counts the rows of the record.
    pub fn row_counts(&self) -> RowCounts {
        let hosts = self.hosts.values();
        RowCounts {
            hosts: hosts.len(),
            shards: hosts.clone().map(|host| host.shards.len()).sum(),
            open_operations: hosts.map(|host| host.open_operations.len()).sum(),
        }
    }

    /// Returns the statistics of the record. Cheap: the counts are kept up to date with every
    /// change.
    pub fn stats(&self) -> Stats {
        let oldest = self.open_operations.first();
        let oldest = oldest.and_then(|id| self.operations.get(id));
        Stats {
            oldest_open_accepted_at: oldest.map(|row| row.accepted_at),
            next_deadline: self.next_deadline(),
            ..self.stats
        }
    }
}
