//! Broadcasts: who gives out revisions, and how a large change becomes several messages.

use std::sync::Arc;

use scuttle_schemas::hosts::{HostRecord, HostsUpdated, HostsUpdatedType};
use scuttle_schemas::operations::{OperationRecord, OperationsUpdated, OperationsUpdatedType};
use scuttle_schemas::shards::{
    RemovedShard, ShardRecord, ShardState, ShardsUpdated, ShardsUpdatedType,
};
use scuttle_schemas::{DeckyId, HostId, Labels, MAX_BROADCAST_BYTES, Services, Text, Timestamp};

use crate::change::Change;
use crate::rows::{OperationRow, OutcomeRow, ShardRow};
use crate::state::{Batch, State, insert_shard, remove_shard};
use crate::step::{Commit, Effect, Trace};

/// What the fields around the records of a message take, at the most.
const ENVELOPE_BYTES: usize = 512;

/// What a text takes as JSON, at the most: a control character becomes `\u00XX`.
fn text(text: &str) -> usize {
    text.len() * 6 + 4
}

/// The most bytes that a record takes as JSON: an upper bound that is cheap to compute.
pub(crate) trait Bounded {
    fn most_bytes(&self) -> usize;

    /// Whether it fits into what is left of `budget`, which it then is taken from.
    fn fits(&self, budget: &mut usize) -> bool {
        let left = budget.checked_sub(self.most_bytes());
        *budget = left.unwrap_or(*budget);
        left.is_some()
    }
}

/// What a shard's record takes, beside its names.
fn shard(services: &Services, labels: &Labels, error: Option<&Text>, ip: Option<&str>) -> usize {
    let services: usize = services.iter().map(text).sum();
    let labels = labels.as_map().iter();
    let labels: usize = labels.map(|(key, value)| text(key) + text(value)).sum();
    let error = error.map_or(0, |error| text(error.as_str()));
    // Names take at most 64 bytes each and need no escapes; the rest is field names, times, numbers.
    720 + services + labels + error + ip.map_or(0, text)
}

impl Bounded for ShardRow {
    fn most_bytes(&self) -> usize {
        let ip = self.ip.as_deref();
        shard(&self.services, &self.labels, self.last_error.as_ref(), ip)
    }
}

impl Bounded for ShardRecord {
    fn most_bytes(&self) -> usize {
        let ip = self.decky_ip.as_deref();
        shard(&self.services, &self.labels, self.last_error.as_ref(), ip)
    }
}

impl Bounded for DeckyId {
    fn most_bytes(&self) -> usize {
        256
    }
}

impl Bounded for HostRecord {
    fn most_bytes(&self) -> usize {
        let labels = self.labels.as_map().iter();
        let labels: usize = labels.map(|(key, value)| text(key) + text(value)).sum();
        let of = |field: &Option<Text>| field.as_ref().map_or(0, |field| text(field.as_str()));
        let texts = of(&self.agent_version) + of(&self.inventory_error);
        640 + labels + texts + self.address.as_deref().map_or(0, text)
    }
}

impl Bounded for OutcomeRow {
    fn most_bytes(&self) -> usize {
        let error = self.error.as_ref().map_or(0, |error| text(error.as_str()));
        160 + error
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
    let fitting = items.iter().take_while(|item| item.fits(budget)).count();
    let rest = items.split_off(fitting);
    std::mem::replace(items, rest)
}

/// A `shards.updated` message that the batch still adds to.
#[derive(Debug)]
pub(crate) struct Telling {
    message: ShardsUpdated,
    trace: Option<Trace>,
    /// Bytes that are left in it.
    room: usize,
}

impl Telling {
    fn into_effect(self) -> Effect {
        Effect::ShardsUpdated(self.message, self.trace)
    }
}

impl Batch {
    /// The message for a change of one shard: the one begun, or a new one with the next revision where
    /// that is full. What belongs to several operations is told as no operation's.
    fn message(
        &mut self,
        now: Timestamp,
        revision: &mut u64,
        cause: Option<&OperationRow>,
        bytes: usize,
    ) -> &mut ShardsUpdated {
        if self.telling.as_ref().is_some_and(|told| told.room < bytes) {
            self.end_message();
        }
        let operation_id = cause.map(|row| row.id);
        let telling = self.telling.get_or_insert_with(|| {
            *revision += 1;
            Telling {
                message: ShardsUpdated {
                    kind: ShardsUpdatedType,
                    revision: *revision,
                    at: now,
                    operation_id,
                    updated: Vec::new(),
                    removed: Vec::new(),
                },
                trace: cause.and_then(|row| row.trace.clone()),
                room: MAX_BROADCAST_BYTES - ENVELOPE_BYTES,
            }
        });
        telling.room = telling.room.saturating_sub(bytes);
        if telling.message.operation_id != operation_id {
            telling.message.operation_id = None;
        }
        &mut telling.message
    }

    /// Ends the message that the batch still adds to.
    pub(crate) fn end_message(&mut self) {
        self.effects
            .extend(self.telling.take().map(Telling::into_effect));
    }
}

impl State {
    /// Puts and removes shards of one host, and tells it: the one way in which a shard changes.
    ///
    /// One message tells what several steps of a batch put, so that a thousand teardowns a moment are a
    /// few messages for whoever listens. A removal is always told with its own operation, a traced change
    /// with its own trace, and a registration in a message of its own, whose revision is told apart from
    /// those of operations that were accepted before.
    pub(crate) fn change_shards(
        &mut self,
        now: Timestamp,
        id: &HostId,
        cause: Option<&OperationRow>,
        put: Vec<ShardRow>,
        removed: Vec<DeckyId>,
    ) {
        let Some(host) = self.hosts.get_mut(id) else {
            return;
        };
        if put.is_empty() && removed.is_empty() {
            return;
        }
        let seen = host.seen;
        let (batch, revision) = (&mut self.batch, &mut self.meta.revisions.shards);
        batch.touch(id);
        let new = |row: &ShardRow| !host.shards.contains_key(&row.decky);
        let traced = cause.is_some_and(|row| row.trace.is_some());
        let alone = traced || !removed.is_empty() || put.iter().any(new);
        // A shard that this message tells already needs another: one revision has one content.
        let twice = |row: &ShardRow| {
            let told = host.shards.get(&row.decky).map(|shard| shard.row.revision);
            told == Some(*revision)
        };
        if alone || put.iter().any(twice) {
            batch.end_message();
        }
        for mut row in put {
            let message = batch.message(now, revision, cause, row.most_bytes());
            (row.updated_at, row.revision) = (now, message.revision);
            let row = Arc::new(row);
            let (shard, new) = insert_shard(&mut host.shards, &mut self.census, Arc::clone(&row));
            // Its agent may not list it for a long time already, and says so again only when asked: a failure must not
            // outlast what failed.
            host.inventory.wanted |= row.state == ShardState::TeardownFailed && !shard.listed;
            message.updated.push(shard.record(&host.row, seen));
            batch.changes.push(Change::Shard(row));
            if new {
                batch.tell(id);
            }
        }
        for decky in removed {
            let message = batch.message(now, revision, cause, decky.most_bytes());
            message.removed.push(RemovedShard {
                host_uuid: id.clone(),
                decky_id: decky.clone(),
                revision: message.revision,
            });
            remove_shard(&mut host.shards, &mut self.census, &decky);
            batch.tell(id);
            let host = id.clone();
            batch.changes.push(Change::ShardRemoved { host, decky });
        }
        if alone {
            batch.end_message();
        }
        self.beacons.shards_told(now);
    }

    /// Ends a batch of steps. Nothing that they answered, and none of these effects, may leave before
    /// the changes are durable.
    pub fn close(&mut self, now: Timestamp) -> Commit {
        self.batch.end_message();
        self.retire(now);
        let batch = std::mem::take(&mut self.batch);
        let mut commit = Commit {
            changes: batch.changes,
            effects: batch.effects,
        };
        let mut hosts: Vec<HostRecord> = Vec::new();
        let mut rows: Vec<Change> = Vec::new();
        for id in &batch.touched {
            let Some(host) = self.hosts.get_mut(id) else {
                continue;
            };
            if std::mem::take(&mut host.unsaved) {
                rows.push(Change::Host(Box::new(host.row.clone())));
            }
            if batch.told.contains(id) {
                hosts.push(host.record());
            }
            debug_assert_eq!(crate::invariants::host(self, id), Ok(()));
        }
        // Hosts first, so that a replay knows a host when it reads its shards and operations.
        commit.changes.splice(0..0, rows);
        let mut operations = Vec::with_capacity(batch.operations.len());
        for (row, told) in batch.operations.into_values() {
            if told {
                operations.push(row.record(self.waiting_for(&row)));
            }
            commit.changes.push(Change::Operation(row));
        }
        let durable =
            batch.meta || !(commit.changes.is_empty() && hosts.is_empty() && operations.is_empty());
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
        if durable {
            commit.changes.push(Change::Meta(self.meta));
        }
        commit
    }
}
