//! Announces changed hosts and operations at the end of a batch. (Shards are announced when they
//! change; see `shard_changes`.)

use scuttle_schemas::Timestamp;
use scuttle_schemas::hosts::{HostRecord, HostsUpdated, HostsUpdatedType};
use scuttle_schemas::operations::{OperationRecord, OperationsUpdated, OperationsUpdatedType};

use crate::api::{Effect, Topic};
use crate::broadcast::batching::take_fitting;
use crate::state::State;

impl State {
    /// Adds to `effects` the `operations.updated` messages that announce these records. Each
    /// message gets the next revision.
    ///
    /// A message with a single operation carries the trace context of that operation.
    pub(crate) fn announce_operations(
        &mut self,
        now: Timestamp,
        mut records: Vec<OperationRecord>,
        effects: &mut Vec<Effect>,
    ) {
        let max_bytes = self.batch.limits.broadcast_bytes();
        while !records.is_empty() {
            let updated = take_fitting(&mut records, max_bytes);
            let trace = match updated.as_slice() {
                [record] => {
                    let row = self.operations.get(&record.operation_id);
                    row.and_then(|row| row.trace.clone())
                }
                _ => None,
            };
            self.meta.revisions.operations += 1;
            let message = OperationsUpdated {
                kind: OperationsUpdatedType,
                revision: self.meta.revisions.operations,
                at: now,
                updated,
            };
            effects.push(Effect::OperationsUpdated(message, trace));
            self.idle_repeats.mark_published(Topic::Operations, now);
        }
    }

    /// Adds to `effects` the `hosts.updated` messages that announce these records. Each message
    /// gets the next revision.
    pub(crate) fn announce_hosts(
        &mut self,
        now: Timestamp,
        mut records: Vec<HostRecord>,
        effects: &mut Vec<Effect>,
    ) {
        let max_bytes = self.batch.limits.broadcast_bytes();
        while !records.is_empty() {
            let updated = take_fitting(&mut records, max_bytes);
            self.meta.revisions.hosts += 1;
            let message = HostsUpdated {
                kind: HostsUpdatedType,
                revision: self.meta.revisions.hosts,
                at: now,
                updated,
            };
            effects.push(Effect::HostsUpdated(message));
            self.idle_repeats.mark_published(Topic::Hosts, now);
        }
    }
}
