//! The changes and messages that the steps of the current batch have collected for its commit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use scuttle_schemas::shards::ShardsUpdated;
use scuttle_schemas::{HostId, OperationId};

use crate::api::Effect;
use crate::message_limits::MessageLimits;
use crate::record::change::Change;
use crate::record::rows::{OperationRow, Trace};

/// The changes and messages of the current batch, which its commit must store and send.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) changes: Vec<Change>,
    pub(crate) effects: Vec<Effect>,
    /// The last `shards.updated` message, as long as more changes can be added to it.
    pub(crate) open_message: Option<OpenMessage>,
    /// The operations that changed, each with only its current row.
    pub(crate) operations: BTreeMap<OperationId, Arc<OperationRow>>,
    /// The hosts with a durable change in this batch.
    pub(crate) changed_hosts: BTreeSet<HostId>,
    /// The hosts to announce on `hosts.updated`.
    pub(crate) announced_hosts: BTreeSet<HostId>,
    /// The hosts to announce on `hosts.updated` later, because only their counters have changed.
    pub(crate) recounted_hosts: BTreeSet<HostId>,
    /// The limits of the messages. They outlast the batch.
    pub(crate) limits: MessageLimits,
    /// Whether the row with the epoch and the revisions must be stored even if nothing else has
    /// changed.
    pub(crate) meta_changed: bool,
}

/// A `shards.updated` message to which changes can still be added.
#[derive(Debug)]
pub(crate) struct OpenMessage {
    pub(crate) message: ShardsUpdated,
    pub(crate) trace: Option<Trace>,
    /// The number of bytes of records that still fit into the message.
    pub(crate) free_bytes: usize,
}

impl Batch {
    /// Marks a host as durably changed in this batch.
    pub(crate) fn mark_host_changed(&mut self, host: &HostId) {
        if !self.changed_hosts.contains(host) {
            self.changed_hosts.insert(host.clone());
        }
    }

    /// Marks a host to be announced on `hosts.updated` when the batch ends.
    pub(crate) fn announce_host(&mut self, host: &HostId) {
        if !self.announced_hosts.contains(host) {
            self.announced_hosts.insert(host.clone());
        }
    }

    /// Marks a host whose counters have changed, to be announced late.
    pub(crate) fn recount_host(&mut self, host: &HostId) {
        if !self.recounted_hosts.contains(host) {
            self.recounted_hosts.insert(host.clone());
        }
    }
}
