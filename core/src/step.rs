//! One step, and the end of a batch of steps.
//!
//! A step only chooses the rule for its input. The rules are in `requests`, `reports`, `time` and
//! `broadcast::relay`.

use scuttle_schemas::Timestamp;

use crate::api::{Commit, Input, Reply};
use crate::broadcast::size_bounds::shorten_notes;
use crate::record::change::Change;
use crate::state::State;

impl State {
    /// Decides on one input. Returns the reply if the input is a request or a report that gets a
    /// reply.
    ///
    /// The reply must not be sent before the [`Commit`] of the batch is durable.
    ///
    /// # Examples
    /// A teardown is accepted:
    ///
    /// ```
    /// use scuttle_core::{Input, Reply, State, TeardownArgs};
    /// use scuttle_schemas::{Timestamp, read};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let now = Timestamp::from_millis(1_795_425_109_000);
    /// let mut state = State::default();
    /// state.step(now, Input::Start);
    /// state.step(now, Input::Enroll {
    ///     request: read("enroll request", br#"{ "name": "worker-a" }"#)?,
    ///     host: "host-1".parse()?,
    /// });
    /// let reply = state.step(now, Input::Teardown(TeardownArgs {
    ///     request: read("teardown request", br#"{ "host_uuid": "host-1", "timeout_s": 60 }"#)?,
    ///     operation_id: "0197a3b2-7c4d-7e8f-9a0b-1c2d3e4f5061".parse()?,
    ///     requested_by: "alice".to_owned(),
    ///     key: None,
    ///     trace: None,
    /// }));
    /// let Some(Reply::Teardown(accepted)) = reply else { panic!("not accepted: {reply:?}") };
    /// assert_eq!(accepted.deadline, now.plus_millis(60_000));
    /// # Ok(())
    /// # }
    /// ```
    pub fn step(&mut self, now: Timestamp, input: Input) -> Option<Reply> {
        self.check_clock(now);
        let reply = match input {
            Input::Start => {
                self.start(now);
                return None;
            }
            Input::Tick => {
                self.tick(now);
                return None;
            }
            Input::Progress { host, progress } => {
                self.apply_progress(now, &host, &progress);
                return None;
            }
            Input::Quarantine { host } => {
                self.quarantine(&host);
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
                self.batch.meta_changed = true;
                return self.step(now, *input);
            }
            Input::Teardown(args) => self.teardown(now, args),
            Input::Cancel(request) => self
                .cancel(now, &request)
                .map(|accepted| Reply::Cancelled(Box::new(accepted))),
            Input::Decommission(request) => {
                self.decommission(now, &request).map(Reply::Decommissioned)
            }
            Input::Enroll { request, host } => self.enroll(now, request, host).map(Reply::Enroll),
            Input::UpdateHost(request) => self.update_host(now, request).map(Reply::HostUpdated),
            Input::Protect(request) => self.protect(now, &request).map(Reply::Protected),
            Input::ShardsList(request) => self.list_shards(&request).map(Reply::Shards),
            Input::HostsList(request) => self.list_hosts(&request).map(Reply::Hosts),
            Input::OperationsList(request) => self.list_operations(&request).map(Reply::Operations),
            Input::OperationGet(request) => self
                .get_operation(request.operation_id)
                .map(|reply| Reply::Operation(Box::new(reply))),
            Input::Result {
                host,
                result,
                trace,
            } => (self.apply_result(now, &host, &result, trace)).map(Reply::Recorded),
            Input::Heartbeat { host, heartbeat } => {
                (self.apply_heartbeat(now, &host, heartbeat)).map(Reply::Heartbeat)
            }
        };
        Some(reply.unwrap_or_else(Reply::Rejected))
    }

    /// Ends a batch of steps. Returns the changes of the steps and the effects to send.
    ///
    /// No reply of the batch and none of the effects may be sent before the changes are durable.
    ///
    /// # Examples
    /// The commit of a new host stores the host's row and announces the host:
    ///
    /// ```
    /// use scuttle_core::{Change, Effect, Input, State};
    /// use scuttle_schemas::{Timestamp, read};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let now = Timestamp::from_millis(1_795_425_109_000);
    /// let mut state = State::default();
    /// state.step(now, Input::Start);
    /// state.step(now, Input::Enroll {
    ///     request: read("enroll request", br#"{ "name": "worker-a" }"#)?,
    ///     host: "host-1".parse()?,
    /// });
    /// let commit = state.close(now);
    /// assert!(matches!(commit.changes[..], [Change::Host(_), Change::Meta(_)]));
    /// assert!(matches!(commit.effects[..], [Effect::HostsUpdated(_)]));
    /// # Ok(())
    /// # }
    /// ```
    pub fn close(&mut self, now: Timestamp) -> Commit {
        self.batch.close_message();
        self.remove_expired_rows(now);
        let batch = std::mem::take(&mut self.batch);
        self.batch.limits = batch.limits;
        let mut commit = Commit {
            changes: batch.changes,
            effects: batch.effects,
        };
        let mut host_rows = Vec::new();
        let mut host_records = Vec::new();
        for id in &batch.announced_hosts {
            if let Some(host) = self.hosts.get_mut(id) {
                host.announced_at = Some(now);
                let record = host.to_record();
                host_records.push(shorten_notes(record, batch.limits.broadcast_bytes()));
                self.late_announcements.remove(id);
            }
        }
        for id in batch.recounted_hosts {
            if !batch.announced_hosts.contains(&id) {
                self.late_announcements.add(now, id);
            }
        }
        for id in &batch.changed_hosts {
            let Some(host) = self.hosts.get_mut(id) else {
                continue;
            };
            if std::mem::take(&mut host.row_unsaved) {
                host_rows.push(Change::Host(Box::new(host.row.clone())));
            }
            debug_assert_eq!(crate::state::invariants::check_host(self, id), Ok(()));
        }
        // Hosts come first, because a replay needs them before their shards and operations.
        commit.changes.splice(0..0, host_rows);
        let mut operation_records = Vec::with_capacity(batch.operations.len());
        for row in batch.operations.into_values() {
            operation_records.push(self.operation_record(&row));
            commit.changes.push(Change::Operation(row));
        }
        let has_changes = batch.meta_changed
            || !commit.changes.is_empty()
            || !host_records.is_empty()
            || !operation_records.is_empty();
        self.announce_operations(now, operation_records, &mut commit.effects);
        self.announce_hosts(now, host_records, &mut commit.effects);
        if has_changes {
            commit.changes.push(Change::Meta(self.meta));
        }
        commit
    }
}
