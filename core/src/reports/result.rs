//! `agent.<host_uuid>.results`: the result of an operation at its agent. A result is accepted in
//! every state of the operation except `succeeded` and `failed`.

use std::collections::BTreeMap;

use scuttle_schemas::agents::{
    DETAIL_UNKNOWN_OPERATION, ReportedOutcome, ReportedState, ResultOutcome, ResultRecorded,
    ShardResult, TeardownResult,
};
use scuttle_schemas::operations::{OperationState, ShardOutcome};
use scuttle_schemas::shards::ShardState;
use scuttle_schemas::{
    DeckyId, ErrorReply, HostId, Labels, MAX_SHARDS_PER_HOST, Services, Text, Timestamp,
};

use crate::broadcast::shard_changes::ShardChanges;
use crate::errors::host_decommissioned;
use crate::record::operation_state::{OperationEvent, is_open};
use crate::record::rows::{OperationRow, ReportId, ShardRow, Trace};
use crate::reports::boot_id::check_boot_id;
use crate::reports::result_checks::{check_listed_once, check_mentions_decky};
use crate::state::State;

/// The changes to the shards of a host that follow from a result.
#[derive(Default)]
struct ShardUpdates {
    put: Vec<ShardRow>,
    /// The number of rows in `put` that are not in the record yet.
    registered: usize,
    removed: Vec<DeckyId>,
    /// Whether the teardown of at least one shard has failed.
    has_failed: bool,
}

impl State {
    /// Ends an operation with the result of its agent.
    ///
    /// Changes nothing in the record if the operation has already succeeded or failed, does not
    /// exist, or belongs to another host. Rejects the result if the host was decommissioned, the
    /// boot is far ahead of the controller's clock, the result lists a decky twice, or the result
    /// reports the success of an operation on a single decky without mentioning the decky.
    pub(crate) fn apply_result(
        &mut self,
        now: Timestamp,
        from: &HostId,
        result: &TeardownResult,
        trace: Option<Trace>,
    ) -> Result<ResultRecorded, ErrorReply> {
        check_boot_id(now, result.boot_id)?;
        check_listed_once(result)?;
        let recorded = |detail: Option<&str>| {
            Ok(ResultRecorded {
                recorded: true,
                detail: detail.map(str::to_owned),
            })
        };
        if let Some(host) = self.hosts.get(from).filter(|host| !host.is_active()) {
            return Err(host_decommissioned(host.identity()));
        }
        let operation = self.operations.get(&result.operation_id);
        let Some(operation) = operation.filter(|row| row.host == *from) else {
            // The agent forgets the result because of this reply. The commit fails if another
            // controller has become leader, which may know the operation. So the reply needs a
            // commit.
            self.batch.meta_changed = true;
            return recorded(Some(DETAIL_UNKNOWN_OPERATION));
        };
        let mut operation = OperationRow::clone(operation);
        let has_new_evidence = operation.keep_evidence(result);
        if matches!(
            operation.state,
            OperationState::Succeeded | OperationState::Failed
        ) {
            self.stats.events.repeated_results += 1;
            // The operation may have ended without a result, at its deadline.
            if has_new_evidence {
                self.put_operation(operation);
            }
            return recorded(None);
        }
        check_mentions_decky(&operation, result)?;
        let is_late = !is_open(operation.state);

        let updates = self.evaluate_result(now, &mut operation, result);
        let has_failed = updates.has_failed || result.outcome == ResultOutcome::Failed;
        let event = if has_failed {
            OperationEvent::Failed
        } else {
            OperationEvent::Succeeded
        };
        if operation.transition(event, now).is_err() {
            return recorded(None);
        }
        self.stats.events.late_results += u64::from(is_late);
        operation.error = has_failed.then(|| overall_error(result));
        if let Some(trace) = trace {
            operation.trace = Some(trace);
        }
        let changes = ShardChanges {
            host: from,
            cause: Some(&operation),
            put: updates.put,
            removed: updates.removed,
        };
        self.change_shards(now, changes);
        self.put_operation(operation);
        self.record_applied_report(from, report_id(result));
        recorded(None)
    }

    /// Determines the changes to every shard that the operation covers or the result mentions, and
    /// sets the outcomes of the operation.
    fn evaluate_result(
        &self,
        now: Timestamp,
        operation: &mut OperationRow,
        result: &TeardownResult,
    ) -> ShardUpdates {
        let mut updates = ShardUpdates::default();
        let report = report_id(result);
        // The result of an operation on a single decky counts for that decky only.
        let mentioned: BTreeMap<&DeckyId, &ShardResult> = (result.shards.iter())
            .filter(|shard| {
                let only = operation.decky.as_ref();
                only.is_none_or(|only| *only == shard.decky_id)
            })
            .map(|shard| (&shard.decky_id, shard))
            .collect();
        for (decky, shard) in &mentioned {
            match shard.outcome {
                ReportedOutcome::Removed => {
                    operation.set_outcome(decky, ShardOutcome::Removed, None);
                    self.mark_removed(operation, decky, report, &mut updates);
                }
                ReportedOutcome::Absent => {
                    operation.set_outcome(decky, ShardOutcome::Absent, None);
                    self.mark_removed(operation, decky, report, &mut updates);
                }
                ReportedOutcome::Failed => {
                    let error = shard.error.clone().unwrap_or_else(|| overall_error(result));
                    let was_replaced = self.was_replaced(operation, decky, report);
                    operation.set_outcome(decky, ShardOutcome::Failed, Some(error.clone()));
                    if was_replaced {
                        updates.has_failed = true;
                        continue;
                    }
                    self.mark_failed(operation, decky, error.clone(), &mut updates);
                    let is_full = self.is_full(operation, updates.registered);
                    if !is_full && self.is_unregistered(operation, decky, report) {
                        updates.registered += 1;
                        let row = self.register_failed(now, operation, decky, error);
                        updates.put.push(row);
                    }
                }
            }
        }
        let unmentioned: Vec<DeckyId> = (operation.outcomes.iter())
            .map(|row| row.decky.clone())
            .filter(|decky| !mentioned.contains_key(decky))
            .collect();
        for decky in &unmentioned {
            let is_covered = self.covers_shard(operation, decky);
            match result.outcome {
                ResultOutcome::Failed if is_covered => {
                    let error = overall_error(result);
                    operation.set_outcome(decky, ShardOutcome::Failed, Some(error.clone()));
                    self.mark_failed(operation, decky, error, &mut updates);
                }
                // After a failure, a shard that is no longer covered has not failed: an earlier
                // operation had already removed it.
                ResultOutcome::Succeeded | ResultOutcome::Failed => {
                    operation.set_outcome(decky, ShardOutcome::Absent, None);
                    if is_covered {
                        self.mark_removed(operation, decky, report, &mut updates);
                    }
                }
            }
        }
        updates
    }

    /// Returns whether the shard in the record is the deployment for which the operation was
    /// accepted.
    fn covers_shard(&self, operation: &OperationRow, decky: &DeckyId) -> bool {
        let host = self.hosts.get(&operation.host);
        let shard = host.and_then(|host| host.shards.get(decky));
        shard.is_some_and(|shard| shard.row.registered <= operation.covers_until)
    }

    /// Returns whether a failure concerns an earlier deployment of the decky than the one in the
    /// record: the agent reported the new deployment after the operation was accepted for the old
    /// one, or after the result. The new deployment keeps its state, and a retry does not remove
    /// it.
    fn was_replaced(&self, operation: &OperationRow, decky: &DeckyId, report: ReportId) -> bool {
        let outcomes = &operation.outcomes;
        let was_covered = outcomes
            .binary_search_by(|row| row.decky.cmp(decky))
            .is_ok();
        let host = self.hosts.get(&operation.host);
        let shard = host.and_then(|host| host.shards.get(decky));
        shard.is_some_and(|shard| {
            let is_later = shard.row.registered > operation.covers_until;
            let is_known = shard.row.deployment.is_some();
            is_known && is_later && (was_covered || shard.row.first_listed_in > Some(report))
        })
    }

    /// Adds a shard that is gone to `updates.removed`. Does nothing if a newer inventory shows that
    /// the decky was deployed again.
    fn mark_removed(
        &self,
        operation: &OperationRow,
        decky: &DeckyId,
        report: ReportId,
        updates: &mut ShardUpdates,
    ) {
        let Some(host) = self.hosts.get(&operation.host) else {
            return;
        };
        let Some(shard) = host.shards.get(decky) else {
            return;
        };
        // A shard that was registered after the acceptance, and that an inventory lists which is
        // newer than this result, was deployed again.
        let is_listed_later = shard.row.first_listed_in > Some(report)
            || (shard.listed && host.inventory.applied_report > Some(report));
        if self.covers_shard(operation, decky) || !is_listed_later {
            updates.removed.push(decky.clone());
        }
    }

    /// Adds a shard that could not be removed to `updates.put`, in the state `teardown_failed`.
    /// Leaves the shard unchanged if a newer operation has taken it over.
    fn mark_failed(
        &self,
        operation: &OperationRow,
        decky: &DeckyId,
        error: Text,
        updates: &mut ShardUpdates,
    ) {
        updates.has_failed = true;
        let Some(host) = self.hosts.get(&operation.host) else {
            return;
        };
        let Some(shard) = host.shards.get(decky) else {
            return;
        };
        // A newer operation has taken the shard over, and decides on it.
        let holder = shard.row.operation;
        if holder.is_some_and(|holder| holder != operation.id) {
            return;
        }
        updates.put.push(ShardRow {
            state: ShardState::TeardownFailed,
            last_error: Some(error),
            operation: Some(operation.id),
            last_seen: shard.last_seen(host.inventory_seen_at),
            ..ShardRow::clone(&shard.row)
        });
    }

    /// Returns whether the operation's host cannot have more shards than those in the record and
    /// `added` ones.
    fn is_full(&self, operation: &OperationRow, added: usize) -> bool {
        let host = self.hosts.get(&operation.host);
        host.is_none_or(|host| host.shards.len() + added >= MAX_SHARDS_PER_HOST)
    }

    /// Returns whether a decky in a result is missing from the record and no newer report was
    /// applied, so that the decky must be added to the record.
    fn is_unregistered(&self, operation: &OperationRow, decky: &DeckyId, report: ReportId) -> bool {
        let Some(host) = self.hosts.get(&operation.host) else {
            return false;
        };
        let is_outdated = host.row.applied > Some(report);
        !is_outdated && !host.shards.contains_key(decky)
    }

    /// Returns the row for a decky that was deployed during the teardown and could not be removed.
    /// No inventory has listed the decky yet, but operators must see the failure.
    fn register_failed(
        &self,
        now: Timestamp,
        operation: &OperationRow,
        decky: &DeckyId,
        error: Text,
    ) -> ShardRow {
        let next_revision = self.meta.revisions.shards + 1;
        ShardRow {
            host: operation.host.clone(),
            decky: decky.clone(),
            ip: None,
            services: Services::default(),
            labels: Labels::default(),
            state: ShardState::TeardownFailed,
            reported: ReportedState::Failed,
            last_error: Some(error),
            operation: Some(operation.id),
            last_seen: now,
            updated_at: now,
            revision: next_revision,
            registered: next_revision,
            deployment: None,
            first_listed_in: None,
            protected: false,
        }
    }

    /// Records that a result was applied, so that an older report that arrives later is recognized
    /// as stale. If a newer report was already applied, requests a new inventory instead.
    fn record_applied_report(&mut self, from: &HostId, report: ReportId) {
        let Some(host) = self.hosts.get_mut(from) else {
            return;
        };
        match host.row.applied {
            // A newer report was applied first. It may list a decky that this result has just
            // removed, because the decky was deployed again in between. Only a new inventory can
            // tell.
            Some(applied) if applied > report => host.inventory.is_requested = true,
            _ => {
                host.row.applied = Some(report);
                host.row_unsaved = true;
                host.inventory.drop_pages_before(report);
            }
        }
    }
}

fn report_id(result: &TeardownResult) -> ReportId {
    ReportId {
        boot: result.boot_id,
        sequence: result.sequence,
    }
}

/// Returns the error of the whole result, or else the first error of a shard, or else a text that
/// says that the agent gave no reason.
fn overall_error(result: &TeardownResult) -> Text {
    let first = || result.shards.iter().find_map(|shard| shard.error.clone());
    result
        .error
        .clone()
        .or_else(first)
        .unwrap_or_else(|| Text::from("the agent gave no reason"))
}

#[cfg(test)]
mod tests {
    use scuttle_schemas::agents::Evidence;
    use scuttle_schemas::operations::OperationState;

    use crate::tests::scenario::{Scenario, report};

    /// Returns a swarm whose host `h` runs the deployment `1` of `a`, and an operation on `a`.
    fn swarm_with_operation() -> (Scenario, scuttle_schemas::OperationId) {
        let mut swarm = Scenario::new();
        swarm.enroll("worker-h", Some("h")).expect("new");
        swarm.heartbeat_with_deployments("h", report(7, 1), &[("a", "1")]);
        let (accepted, _) = swarm.teardown("h", Some("a")).expect("accepted");
        (swarm, accepted.operation_id)
    }

    #[test]
    fn a_result_that_is_older_than_the_report_of_a_new_deployment_does_not_change_it() {
        for (error, restarts) in [
            (None, false),
            (None, true),
            (Some("container busy"), false),
            (Some("container busy"), true),
        ] {
            let (mut swarm, operation) = swarm_with_operation();
            // The report of the new deployment overtakes the result.
            swarm.heartbeat_with_deployments("h", report(7, 3), &[("a", "2")]);
            if restarts {
                swarm.crash_and_restart();
            }
            swarm.report_result("h", report(7, 2), operation, None, &[("a", error)]);
            assert_eq!(swarm.states("h"), "a:Running", "{error:?}");
            assert_eq!(swarm.shards("h")[0].operation_id, None);
            let state = swarm.operation(operation).state;
            assert_eq!(state == OperationState::Failed, error.is_some());
        }
    }

    /// The agent does not report deployments, and the process that applied the inventory has ended.
    #[test]
    fn a_result_that_is_older_than_the_registration_of_a_shard_does_not_remove_it() {
        for restarts in [false, true] {
            let mut swarm = Scenario::new();
            swarm.enroll("worker-h", Some("h")).expect("new");
            swarm.heartbeat("h", report(7, 1), Some(&["a"]));
            let (first, _) = swarm.teardown("h", Some("a")).expect("accepted");
            swarm.try_cancel(first.operation_id);
            let (second, _) = swarm.teardown("h", Some("a")).expect("accepted");
            // The cancellation came too late.
            let gone = [("a", None)];
            swarm.report_result("h", report(7, 2), first.operation_id, None, &gone);
            assert_eq!(swarm.states("h"), "");
            // The report of the new deployment overtakes the second result.
            swarm.heartbeat("h", report(7, 4), Some(&["a"]));
            if restarts {
                swarm.crash_and_restart();
            }
            swarm.report_result("h", report(7, 3), second.operation_id, None, &gone);
            assert_eq!(swarm.states("h"), "a:Running", "restarts: {restarts}");
        }
    }

    #[test]
    fn an_old_operation_that_fails_leaves_a_new_deployment_as_reported() {
        let (mut swarm, operation) = swarm_with_operation();
        swarm.heartbeat_with_deployments("h", report(7, 2), &[("a", "2")]);
        let failed = [("a", Some("deployed again"))];
        swarm.report_result("h", report(7, 3), operation, None, &failed);
        assert_eq!(swarm.states("h"), "a:Running");
        let record = swarm.operation(operation);
        assert_eq!(
            (record.state, record.counts.failed),
            (OperationState::Failed, 1)
        );
    }

    /// The agent looked for the decky after it had reported the new deployment, and found nothing.
    #[test]
    fn a_new_deployment_that_the_agent_removed_leaves_the_record() {
        let (mut swarm, operation) = swarm_with_operation();
        swarm.heartbeat_with_deployments("h", report(7, 2), &[("a", "2")]);
        swarm.report_result("h", report(7, 3), operation, None, &[("a", None)]);
        assert_eq!(swarm.states("h"), "");
    }

    #[test]
    fn the_evidence_of_a_result_after_the_end_of_the_operation_is_kept() {
        let (mut swarm, operation) = swarm_with_operation();
        swarm.heartbeat_with_deployments("h", report(7, 2), &[]);
        swarm.advance_ms(600_000);
        assert_eq!(swarm.operation(operation).state, OperationState::Succeeded);
        let evidence = Evidence {
            path: "/evidence/a.tar.zst".to_owned(),
            bytes: 1,
            sha256: "0f".repeat(32),
        };
        swarm.evidence = Some(evidence.clone());
        for _ in 0..2 {
            swarm.report_result("h", report(7, 3), operation, None, &[("a", None)]);
            let shards = swarm.operation(operation).shards.expect("the shards");
            assert_eq!(shards[0].evidence.as_ref(), Some(&evidence));
        }
    }

    #[test]
    fn the_evidence_of_a_result_is_kept_with_the_operation() {
        for error in [None, Some("container busy")] {
            let (mut swarm, operation) = swarm_with_operation();
            let evidence = Evidence {
                path: "/var/lib/scuttle-agent/evidence/a.tar.zst".to_owned(),
                bytes: 18_211,
                sha256: "0f".repeat(32),
            };
            swarm.evidence = Some(evidence.clone());
            swarm.report_result("h", report(7, 2), operation, None, &[("a", error)]);
            swarm.crash_and_restart();
            let shards = swarm.operation(operation).shards.expect("the shards");
            assert_eq!(shards[0].evidence, Some(evidence));
        }
    }
}
