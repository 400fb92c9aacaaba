//! Steps.

use scuttle_schemas::hosts::{HostRecord, HostsUpdated, HostsUpdatedType};
use scuttle_schemas::operations::{OperationsUpdated, OperationsUpdatedType};
use scuttle_schemas::{MAX_BROADCAST_BYTES, Timestamp};

use crate::api::{Commit, Effect, Input, Reply};
use crate::broadcast::batching::take_fitting;
use crate::broadcast::size_bounds::ENVELOPE_BYTES;
use crate::record::change::Change;
use crate::requests::teardown::Asked;
use crate::state::State;

impl State {
    /// Decides on one input; answers with the reply, where the input is a request. It may leave once
    /// the [`Commit`] of the batch is durable.
    pub fn step(&mut self, now: Timestamp, input: Input) -> Option<Reply> {
        self.look_at_clock(now);
        let answered = match input {
            Input::Start => {
                self.start(now);
                return None;
            }
            Input::Tick => {
                self.tick(now);
                return None;
            }
            Input::Progress { host, progress } => {
                self.progress(now, &host, &progress);
                return None;
            }
            Input::Relay {
                from,
                broadcast,
                trace,
            } => {
                self.relay(now, from, broadcast, trace);
                return None;
            }
            Input::Linearizable(input) => {
                self.batch.meta = true;
                return self.step(now, *input);
            }
            Input::Teardown {
                request,
                operation_id,
                requested_by,
                key,
                trace,
            } => {
                let asked = Asked {
                    request,
                    id: operation_id,
                    requested_by,
                    key,
                    trace,
                };
                self.teardown(now, asked)
            }
            Input::Cancel(request) => self
                .cancel(now, &request)
                .map(|answer| Reply::Cancelled(Box::new(answer))),
            Input::Decommission(request) => {
                self.decommission(now, &request).map(Reply::Decommissioned)
            }
            Input::Enroll { request, host } => self.enroll(now, request, host).map(Reply::Enroll),
            Input::ShardsList(request) => self.list_shards(&request).map(Reply::Shards),
            Input::HostsList(request) => self.list_hosts(&request).map(Reply::Hosts),
            Input::OperationsList(request) => self.list_operations(&request).map(Reply::Operations),
            Input::OperationGet(request) => self
                .get_operation(request.operation_id)
                .map(|answer| Reply::Operation(Box::new(answer))),
            Input::Result {
                host,
                result,
                trace,
            } => self.result(now, &host, &result, trace).map(Reply::Recorded),
            Input::Heartbeat { host, heartbeat } => {
                self.heartbeat(now, &host, heartbeat).map(Reply::Heartbeat)
            }
        };
        Some(answered.unwrap_or_else(Reply::Rejected))
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
            debug_assert_eq!(crate::invariants::check_host(self, id), Ok(()));
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
