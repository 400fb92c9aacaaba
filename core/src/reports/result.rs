//! `agent.<host_uuid>.results`: how an operation ended at its agent, which counts whatever state the
//! operation is in here.

use std::collections::BTreeMap;

use scuttle_schemas::agents::{
    DETAIL_UNKNOWN_OPERATION, ReportedOutcome, ReportedState, ResultOutcome, ResultRecorded,
    ShardResult, TeardownResult,
};
use scuttle_schemas::operations::{OperationState, ShardOutcome};
use scuttle_schemas::shards::ShardState;
use scuttle_schemas::{
    DeckyId, ErrorReply, HostId, Labels, MAX_DECKIES_PER_HOST, Services, Text, Timestamp,
};

use crate::errors::decommissioned;
use crate::record::operation_state::{Event, is_open};
use crate::record::rows::{OperationRow, ReportId, ShardRow, Trace};
use crate::state::State;

/// What a result does to the shards of its host.
#[derive(Default)]
struct Verdict {
    put: Vec<ShardRow>,
    removed: Vec<DeckyId>,
    failed: bool,
}

impl State {
    /// Finishes an operation. A repeat, an unknown operation, or one of another host changes nothing of the record.
    pub(crate) fn result(
        &mut self,
        now: Timestamp,
        from: &HostId,
        result: &TeardownResult,
        trace: Option<Trace>,
    ) -> Result<ResultRecorded, ErrorReply> {
        let recorded = |detail: Option<&str>| {
            Ok(ResultRecorded {
                recorded: true,
                detail: detail.map(str::to_owned),
            })
        };
        if self.hosts.get(from).is_some_and(|host| !host.living()) {
            return Err(decommissioned(from));
        }
        let known = self
            .operations
            .get(&result.operation_id)
            .filter(|row| row.host == *from);
        let Some(operation) = known else {
            // The agent forgets the result over this answer. So it leaves behind a commit, which fails where another
            // controller leads by now, and knows more.
            self.batch.meta = true;
            return recorded(Some(DETAIL_UNKNOWN_OPERATION));
        };
        let mut operation = OperationRow::clone(operation);
        if matches!(
            operation.state,
            OperationState::Succeeded | OperationState::Failed
        ) {
            self.stats.events.repeated_results += 1;
            return recorded(None);
        }
        let late = !is_open(operation.state);

        let verdict = self.judge(now, &mut operation, result);
        let failed = verdict.failed || result.outcome == ResultOutcome::Failed;
        let event = if failed {
            Event::Failed
        } else {
            Event::Succeeded
        };
        if operation.take(event, now).is_err() {
            return recorded(None);
        }
        self.stats.events.late_results += u64::from(late);
        operation.error = failed.then(|| overall_error(result));
        let Verdict { put, removed, .. } = verdict;
        if let Some(trace) = trace {
            operation.trace = Some(trace);
        }
        self.change_shards(now, from, Some(&operation), put, removed);
        self.put_operation(operation);
        self.number(from, report_of(result));
        recorded(None)
    }

    /// What becomes of each shard that the operation covers or the result mentions.
    fn judge(
        &self,
        now: Timestamp,
        operation: &mut OperationRow,
        result: &TeardownResult,
    ) -> Verdict {
        let mut verdict = Verdict::default();
        let report = report_of(result);
        // An operation for one decky speaks for that decky alone.
        let mentioned: BTreeMap<&DeckyId, &ShardResult> = (result.shards.iter())
            .filter(|shard| {
                operation
                    .decky
                    .as_ref()
                    .is_none_or(|only| *only == shard.decky_id)
            })
            .map(|shard| (&shard.decky_id, shard))
            .collect();
        for (decky, shard) in &mentioned {
            match shard.outcome {
                ReportedOutcome::Removed => {
                    operation.note(decky, ShardOutcome::Removed, None);
                    self.gone(operation, decky, report, &mut verdict);
                }
                ReportedOutcome::Absent => {
                    operation.note(decky, ShardOutcome::Absent, None);
                    self.gone(operation, decky, report, &mut verdict);
                }
                ReportedOutcome::Failed => {
                    let error = shard.error.clone().unwrap_or_else(|| overall_error(result));
                    operation.note(decky, ShardOutcome::Failed, Some(error.clone()));
                    self.remains(operation, decky, error.clone(), &mut verdict);
                    let found = self.found(now, operation, decky, (report, error));
                    verdict.put.extend(found);
                }
            }
        }
        let unmentioned: Vec<DeckyId> = (operation.outcomes.iter())
            .map(|row| row.decky.clone())
            .filter(|decky| !mentioned.contains_key(decky))
            .collect();
        for decky in &unmentioned {
            let covered = self.covers(operation, decky);
            match result.outcome {
                ResultOutcome::Failed if covered => {
                    let error = overall_error(result);
                    operation.note(decky, ShardOutcome::Failed, Some(error.clone()));
                    self.remains(operation, decky, error, &mut verdict);
                }
                // A failure is not one of a shard that an earlier operation had removed by then.
                ResultOutcome::Succeeded | ResultOutcome::Failed => {
                    operation.note(decky, ShardOutcome::Absent, None);
                    if covered {
                        self.gone(operation, decky, report, &mut verdict);
                    }
                }
            }
        }
        verdict
    }

    /// Whether the shard on record is the deployment that the operation was accepted for.
    fn covers(&self, operation: &OperationRow, decky: &DeckyId) -> bool {
        let shard = self
            .hosts
            .get(&operation.host)
            .and_then(|host| host.shards.get(decky));
        shard.is_some_and(|shard| shard.row.registered <= operation.covers_until)
    }

    fn gone(
        &self,
        operation: &OperationRow,
        decky: &DeckyId,
        report: ReportId,
        verdict: &mut Verdict,
    ) {
        let Some(host) = self.hosts.get(&operation.host) else {
            return;
        };
        let Some(shard) = host.shards.get(decky) else {
            return;
        };
        // Registered since the acceptance, and seen by an inventory that left after this result: it was deployed anew.
        let seen_later = shard.listed && host.inventory.report > Some(report);
        if self.covers(operation, decky) || !seen_later {
            verdict.removed.push(decky.clone());
        }
    }

    fn remains(
        &self,
        operation: &OperationRow,
        decky: &DeckyId,
        error: Text,
        verdict: &mut Verdict,
    ) {
        verdict.failed = true;
        let Some(host) = self.hosts.get(&operation.host) else {
            return;
        };
        let Some(shard) = host.shards.get(decky) else {
            return;
        };
        // Another holder took it over later: it is that operation's to fail.
        if shard
            .row
            .operation
            .is_some_and(|holder| holder != operation.id)
        {
            return;
        }
        verdict.put.push(ShardRow {
            state: ShardState::TeardownFailed,
            last_error: Some(error),
            operation: Some(operation.id),
            last_seen: shard.last_seen(host.seen),
            ..ShardRow::clone(&shard.row)
        });
    }

    /// The row of a decky that the record did not know, and that the agent could not remove: deployed
    /// during the teardown, it was never in an inventory, and its failure is to be seen all the same.
    fn found(
        &self,
        now: Timestamp,
        operation: &OperationRow,
        decky: &DeckyId,
        (report, error): (ReportId, Text),
    ) -> Option<ShardRow> {
        let host = self.hosts.get(&operation.host)?;
        let overtaken = host.row.applied > Some(report);
        let full = host.shards.len() >= MAX_DECKIES_PER_HOST;
        if overtaken || full || host.shards.contains_key(decky) {
            return None;
        }
        let next = self.meta.revisions.shards + 1;
        Some(ShardRow {
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
            revision: next,
            registered: next,
        })
    }

    /// Notes which report was applied, so that an older one that comes later is known for stale.
    fn number(&mut self, from: &HostId, report: ReportId) {
        let Some(host) = self.hosts.get_mut(from) else {
            return;
        };
        match host.row.applied {
            // A report that was taken later came first: it may list what this result has just removed,
            // because it was deployed again in between. Only a new inventory tells.
            Some(applied) if applied > report => host.inventory.wanted = true,
            _ => {
                host.row.applied = Some(report);
                host.unsaved = true;
                host.inventory.drop_pages_before(report);
            }
        }
    }
}

fn report_of(result: &TeardownResult) -> ReportId {
    ReportId {
        boot: result.boot_id,
        sequence: result.sequence,
    }
}

fn overall_error(result: &TeardownResult) -> Text {
    let first = || result.shards.iter().find_map(|shard| shard.error.clone());
    result
        .error
        .clone()
        .or_else(first)
        .unwrap_or_else(|| Text::from("the agent gave no reason"))
}
