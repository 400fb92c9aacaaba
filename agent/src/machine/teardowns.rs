//! The course of one teardown: its start, its progress, and its result. `results` delivers the
//! result to the controller.

use scuttle_schemas::agents::{
    ProgressStep, ReportedOutcome, ResultOutcome, ShardResult, TeardownProgress,
    TeardownProgressType, TeardownResult, TeardownResultType,
};
use scuttle_schemas::{DeckyId, OperationId, Text};

use super::effect::{Effect, Step};
use super::event::AgentEvent;
use super::input::Now;
use super::message_sizes::{DEFAULT_MAX_PAYLOAD, max_result_bytes, shorten_to_fit};
use super::state::Machine;
use super::state::command_queue::RunningTeardown;
use crate::ledger::{Entry, FinishedTeardown, StartedTeardown};
use crate::runtime::{Progress, Teardown, TeardownReport};

/// The minimum interval between two progress messages of the same step, in milliseconds.
const MIN_PROGRESS_INTERVAL_MS: u64 = 250;

/// A command that an agent acknowledges.
#[derive(Clone, Copy)]
pub(super) enum Acknowledged {
    Teardown(OperationId),
    Cancel(OperationId),
}

impl Machine {
    pub(super) fn start_teardown(
        &mut self,
        now: Now,
        started: StartedTeardown,
        resumed: bool,
        step: &mut Step,
    ) {
        let operation_id = started.operation_id;
        step.emit(AgentEvent::TeardownStarted {
            operation_id,
            decky_id: started.decky_id.clone(),
            resumed,
        });
        step.effects.push(Effect::StartTeardown {
            teardown: Teardown {
                operation_id,
                decky_id: started.decky_id.clone(),
                not_after: started.not_after,
                override_protection: started.override_protection,
            },
            traceparent: started.traceparent.clone(),
        });
        self.commands.start(RunningTeardown {
            started,
            latest: Progress::started(operation_id),
            published_at: now.monotonic_ms,
        });
        self.publish_started(now, operation_id, step);
    }

    /// Publishes the step `started` for every running teardown.
    pub(super) fn publish_all_started(&mut self, now: Now, step: &mut Step) {
        let running: Vec<_> = self.commands.running_ids().collect();
        for operation_id in running {
            self.publish_started(now, operation_id, step);
        }
    }

    /// Publishes the step `started` for a teardown if it is running, even if it has reached a later
    /// step. The controller needs this message to set the operation to `running`, and an earlier
    /// copy may have been lost.
    pub(super) fn publish_started(&mut self, now: Now, operation_id: OperationId, step: &mut Step) {
        if let Some(running) = self.commands.find_running(operation_id) {
            running.published_at = now.monotonic_ms;
            let progress = Progress {
                step: ProgressStep::Started,
                decky_id: None,
                ..running.latest.clone()
            };
            let traceparent = running.started.traceparent.clone();
            self.publish_progress(progress, traceparent, step);
        }
    }

    pub(super) fn handle_progress(&mut self, now: Now, progress: Progress, step: &mut Step) {
        let Some(running) = self.commands.find_running(progress.operation_id) else {
            return;
        };
        let is_new_step = running.latest.step != progress.step;
        running.latest = progress.clone();
        let next_at = running
            .published_at
            .saturating_add(MIN_PROGRESS_INTERVAL_MS);
        if is_new_step || now.monotonic_ms >= next_at {
            running.published_at = now.monotonic_ms;
            let traceparent = running.started.traceparent.clone();
            self.publish_progress(progress, traceparent, step);
        }
    }

    fn publish_progress(&self, progress: Progress, traceparent: Option<String>, step: &mut Step) {
        if !self.connected {
            return;
        }
        step.effects.push(Effect::PublishProgress {
            traceparent,
            message: TeardownProgress {
                kind: TeardownProgressType,
                operation_id: progress.operation_id,
                boot_id: self.config.boot_id,
                step: progress.step,
                cancelled: false,
                decky_id: progress.decky_id,
                done: progress.done,
                total: progress.total,
            },
        });
    }

    /// Acknowledges a command, so that the controller does not send the command again. Sends no
    /// acknowledgement above the rate limit.
    pub(super) fn acknowledge(
        &mut self,
        now: Now,
        command: Acknowledged,
        traceparent: Option<String>,
        step: &mut Step,
    ) {
        if !self.connected || !self.acknowledgement_limit.try_send(now.monotonic_ms) {
            return;
        }
        let (operation_id, cancelled) = match command {
            Acknowledged::Teardown(id) => (id, false),
            Acknowledged::Cancel(id) => (id, true),
        };
        step.effects.push(Effect::PublishProgress {
            traceparent,
            message: TeardownProgress {
                kind: TeardownProgressType,
                operation_id,
                boot_id: self.config.boot_id,
                step: ProgressStep::Received,
                cancelled,
                decky_id: None,
                done: None,
                total: None,
            },
        });
    }

    pub(super) fn handle_finished(
        &mut self,
        now: Now,
        operation_id: OperationId,
        report: TeardownReport,
        step: &mut Step,
    ) {
        if let Some(running) = self.commands.finish(operation_id) {
            self.finish_operation(now, running.started, report, step);
            self.start_commands(now, step);
        }
    }

    /// Ends an expired operation as failed, without calling the runtime.
    pub(super) fn fail_without_running(
        &mut self,
        now: Now,
        started: StartedTeardown,
        error: &str,
        step: &mut Step,
    ) {
        step.emit(AgentEvent::CommandExpired {
            operation_id: started.operation_id,
            decky_id: started.decky_id.clone(),
        });
        let report = TeardownReport {
            error: Some(Text::from(error)),
            shards: Vec::new(),
        };
        self.finish_operation(now, started, report, step);
    }

    /// Assigns a sequence number to the result, appends the result to the ledger, and schedules its
    /// delivery.
    fn finish_operation(
        &mut self,
        now: Now,
        started: StartedTeardown,
        report: TeardownReport,
        step: &mut Step,
    ) {
        let operation_id = started.operation_id;
        let report = complete_report(started.decky_id.as_ref(), report);
        let error = summarize_errors(&report);
        let outcome = match error {
            Some(_) => ResultOutcome::Failed,
            None => ResultOutcome::Succeeded,
        };
        let sequence = self.next_sequence();
        self.heartbeats.note_result(sequence);
        self.handle_inventory_changed(now);
        let finished = FinishedTeardown {
            not_after: started.not_after,
            traceparent: started.traceparent,
            result: shorten_to_fit(
                TeardownResult {
                    kind: TeardownResultType,
                    operation_id,
                    host_uuid: self.config.host.clone(),
                    boot_id: self.config.boot_id,
                    sequence,
                    outcome,
                    error,
                    shards: report.shards,
                    started_at: started.started_at,
                    finished_at: now.wall,
                },
                max_result_bytes(DEFAULT_MAX_PAYLOAD),
            ),
        };
        step.writes.push(Entry::Finished(finished.clone()));
        step.emit(AgentEvent::TeardownFinished {
            operation_id,
            outcome,
            decky_id: started.decky_id,
            error: finished.result.error.clone(),
        });
        self.results.add(finished, now);
    }
}

/// Normalizes a report so that the controller accepts it: each decky is listed once, a failure
/// takes precedence over a success, and a successful teardown of a single decky lists that decky.
fn complete_report(decky: Option<&DeckyId>, mut report: TeardownReport) -> TeardownReport {
    let is_success = |shard: &ShardResult| shard.outcome != ReportedOutcome::Failed;
    (report.shards).sort_by(|a, b| (&a.decky_id, is_success(a)).cmp(&(&b.decky_id, is_success(b))));
    (report.shards).dedup_by(|later, earlier| later.decky_id == earlier.decky_id);
    if let Some(decky) = decky
        && report.error.is_none()
        && report.shards.iter().all(|shard| shard.decky_id != *decky)
    {
        report.shards.push(ShardResult {
            decky_id: decky.clone(),
            outcome: ReportedOutcome::Failed,
            error: Some(Text::from("the runtime reported no outcome")),
            evidence: None,
        });
    }
    report
}

/// Returns the error of the runtime itself if there is one, and otherwise a summary of the errors
/// of the deckies. Returns `None` if nothing failed.
fn summarize_errors(report: &TeardownReport) -> Option<Text> {
    if report.error.is_some() {
        return report.error.clone();
    }
    let failed = || {
        report
            .shards
            .iter()
            .filter(|shard| shard.outcome == ReportedOutcome::Failed)
    };
    let first = failed().next()?;
    let reason = first.error.as_ref().map_or("no reason given", Text::as_str);
    let text = if report.shards.len() == 1 {
        reason.to_owned()
    } else {
        let count = failed().count();
        let verb = if count == 1 { "was" } else { "were" };
        let total = report.shards.len();
        let decky = &first.decky_id;
        format!("{count} of {total} deckies {verb} not removed; {decky}: {reason}")
    };
    Some(Text::from(text.as_str()))
}

#[cfg(test)]
mod tests {
    use super::{ReportedOutcome, ShardResult, TeardownReport, Text, summarize_errors};

    #[test]
    fn a_summary_counts_the_failed_deckies_and_names_the_first() {
        let shard = |decky: &str, error: Option<&str>| ShardResult {
            decky_id: decky.parse().expect("a valid decky id"),
            outcome: match error {
                Some(_) => ReportedOutcome::Failed,
                None => ReportedOutcome::Removed,
            },
            error: error.map(Text::from),
            evidence: None,
        };
        let summarize = |shards| {
            let report = TeardownReport {
                shards,
                error: None,
            };
            summarize_errors(&report).map(|text| text.as_str().to_owned())
        };
        let [gone, a, b] = [
            shard("gone", None),
            shard("a", Some("busy")),
            shard("b", Some("stuck")),
        ];
        assert_eq!(summarize(vec![gone.clone()]), None);
        assert_eq!(summarize(vec![a.clone()]).as_deref(), Some("busy"));
        let one = summarize(vec![gone, a.clone()]);
        assert_eq!(
            one.as_deref(),
            Some("1 of 2 deckies was not removed; a: busy")
        );
        let two = summarize(vec![a, b]);
        assert_eq!(
            two.as_deref(),
            Some("2 of 2 deckies were not removed; a: busy")
        );
    }
}
