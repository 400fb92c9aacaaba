//! Broadcasts: who gives out revisions, and how a large change becomes several messages.

use scuttle_schemas::hosts::{HostRecord, HostsUpdated, HostsUpdatedType};
use scuttle_schemas::operations::{OperationRecord, OperationsUpdated, OperationsUpdatedType};
use scuttle_schemas::shards::{RemovedShard, ShardRecord, ShardsUpdated, ShardsUpdatedType};
use scuttle_schemas::{DeckyId, HostId, MAX_BROADCAST_BYTES, OperationId, Timestamp};

use crate::change::Change;
use crate::rows::ShardRow;
use crate::state::State;
use crate::step::{Commit, Effect, Trace};

/// What the fields around the records of a message take, at the most.
const ENVELOPE_BYTES: usize = 512;

/// What a text takes as JSON, at the most: a control character becomes `\u00XX`.
fn text(text: &str) -> usize {
    text.len() * 6 + 4
}

/// The most bytes that a record takes as JSON: an upper bound that is cheap to compute.
trait Bounded {
    fn most_bytes(&self) -> usize;
}

impl Bounded for ShardRow {
    fn most_bytes(&self) -> usize {
        let services: usize = self.services.as_slice().iter().map(|name| text(name)).sum();
        let labels = self.labels.as_map().iter();
        let labels: usize = labels.map(|(key, value)| text(key) + text(value)).sum();
        let error = self
            .last_error
            .as_ref()
            .map_or(0, |error| text(error.as_str()));
        // Names take at most 64 bytes each and need no escapes; the rest is field names, times, numbers.
        720 + services + labels + error + self.ip.as_deref().map_or(0, text)
    }
}

impl Bounded for (HostId, DeckyId) {
    fn most_bytes(&self) -> usize {
        256
    }
}

impl Bounded for HostRecord {
    fn most_bytes(&self) -> usize {
        let labels = self.labels.as_map().iter();
        let labels: usize = labels.map(|(key, value)| text(key) + text(value)).sum();
        let version = self
            .agent_version
            .as_ref()
            .map_or(0, |version| text(version.as_str()));
        640 + labels + version + self.address.as_deref().map_or(0, text)
    }
}

impl Bounded for OperationRecord {
    fn most_bytes(&self) -> usize {
        let error = self.error.as_ref().map_or(0, |error| text(error.as_str()));
        let reason = self.reason.as_deref().map_or(0, text);
        960 + error + reason + text(&self.requested_by)
    }
}

/// Takes as many items off the front as fit into what is left of `budget`.
fn take_fitting<T: Bounded>(items: &mut Vec<T>, budget: &mut usize) -> Vec<T> {
    let fitting = items
        .iter()
        .take_while(|item| match budget.checked_sub(item.most_bytes()) {
            Some(left) => {
                *budget = left;
                true
            }
            None => false,
        })
        .count();
    let rest = items.split_off(fitting);
    std::mem::replace(items, rest)
}

impl State {
    /// Puts and removes shards, and tells it: the one way in which a shard changes.
    pub(crate) fn change_shards(
        &mut self,
        now: Timestamp,
        operation: Option<OperationId>,
        trace: Option<&Trace>,
        mut put: Vec<ShardRow>,
        mut removed: Vec<(HostId, DeckyId)>,
    ) {
        while !(put.is_empty() && removed.is_empty()) {
            let mut budget = MAX_BROADCAST_BYTES - ENVELOPE_BYTES;
            let rows = take_fitting(&mut put, &mut budget);
            let gone = take_fitting(&mut removed, &mut budget);
            self.meta.revisions.shards += 1;
            let revision = self.meta.revisions.shards;
            let updated = rows
                .into_iter()
                .filter_map(|row| {
                    self.put_told_shard(ShardRow {
                        updated_at: now,
                        revision,
                        ..row
                    })
                })
                .collect();
            let removed = gone
                .into_iter()
                .map(|(host_uuid, decky_id)| {
                    self.remove_shard(&host_uuid, &decky_id);
                    RemovedShard {
                        host_uuid,
                        decky_id,
                        revision,
                    }
                })
                .collect();
            let message = ShardsUpdated {
                kind: ShardsUpdatedType,
                revision,
                at: now,
                operation_id: operation,
                updated,
                removed,
            };
            self.effects
                .push(Effect::ShardsUpdated(message, trace.cloned()));
            self.beacons.shards_told(now);
        }
    }

    fn put_told_shard(&mut self, row: ShardRow) -> Option<ShardRecord> {
        let (host, decky) = (row.host.clone(), row.decky.clone());
        self.put_shard(row);
        let host = self.hosts.get(&host)?;
        Some(host.shard_record(host.shards.get(&decky)?))
    }

    /// Ends a batch of steps. None of their effects, nor these, may leave before the changes are
    /// durable.
    pub fn close(&mut self, now: Timestamp) -> Commit {
        let batch = std::mem::take(&mut self.batch);
        let mut commit = Commit {
            changes: batch.changes,
            effects: Vec::new(),
        };
        let rows = batch
            .operations
            .iter()
            .filter_map(|id| self.operations.get(id));
        commit.changes.extend(rows.cloned().map(Change::Operation));

        let mut hosts: Vec<HostRecord> = Vec::new();
        for id in &batch.touched {
            let Some(host) = self.hosts.get_mut(id) else {
                continue;
            };
            if std::mem::take(&mut host.unsaved) {
                // First, so that a replay knows the host when it reads its shards.
                commit.changes.insert(0, Change::Host(host.row.clone()));
            }
            if batch.told.contains(id) {
                hosts.push(host.record());
            }
            debug_assert_eq!(crate::invariants::host(self, id), Ok(()));
        }
        let mut operations: Vec<OperationRecord> = (batch.operations.iter())
            .filter_map(|id| self.operations.get(id))
            .map(crate::rows::OperationRow::record)
            .collect();

        while !operations.is_empty() {
            let mut budget = MAX_BROADCAST_BYTES - ENVELOPE_BYTES;
            let updated = take_fitting(&mut operations, &mut budget);
            let trace = match updated.as_slice() {
                [one] => self
                    .operations
                    .get(&one.operation_id)
                    .and_then(|row| row.trace.clone()),
                _ => None,
            };
            self.meta.revisions.operations += 1;
            let revision = self.meta.revisions.operations;
            let kind = OperationsUpdatedType;
            let message = OperationsUpdated {
                kind,
                revision,
                at: now,
                updated,
            };
            commit
                .effects
                .push(Effect::OperationsUpdated(message, trace));
            self.beacons.operations_told(now);
        }
        while !hosts.is_empty() {
            let mut budget = MAX_BROADCAST_BYTES - ENVELOPE_BYTES;
            let updated = take_fitting(&mut hosts, &mut budget);
            self.meta.revisions.hosts += 1;
            let revision = self.meta.revisions.hosts;
            let message = HostsUpdated {
                kind: HostsUpdatedType,
                revision,
                at: now,
                updated,
            };
            commit.effects.push(Effect::HostsUpdated(message));
            self.beacons.hosts_told(now);
        }
        if !commit.changes.is_empty() || !commit.effects.is_empty() || batch.meta {
            commit.changes.push(Change::Meta(self.meta));
        }
        commit
    }
}
