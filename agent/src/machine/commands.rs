//! What becomes of a command: ignored, answered again, queued, executed once. How its result is told is
//! in `results`.

use std::collections::VecDeque;

use scuttle_schemas::agents::{
    AgentCommand, ProgressStep, ReportedOutcome, ResultOutcome, TeardownCommand, TeardownProgress,
    TeardownProgressType, TeardownResult, TeardownResultType,
};
use scuttle_schemas::{MAX_DECKIES_PER_HOST, OperationId, Text, Timestamp};

use super::results::fit;
use super::{Effect, Ignored, Machine, Note, Now, Progress, Step};
use crate::ledger::{Entry, Finished, Started};
use crate::runtime::{Teardown, TeardownReport};

/// The most commands that wait for their turn: one for every decky that a host can have. The
/// controller sends again what finds no room.
pub const MAX_QUEUED: usize = MAX_DECKIES_PER_HOST;

/// How long after its deadline a command is still begun, in milliseconds: what clocks may differ by.
const GRACE_MS: i64 = 60_000;

/// The shortest time between two progress messages of one step, in milliseconds.
const PROGRESS_GAP_MS: u64 = 250;

/// The commands that are not finished, in the order of their arrival.
#[derive(Debug, Default)]
pub(super) struct Commands {
    running: Option<Running>,
    queue: VecDeque<Queued>,
}

#[derive(Debug)]
struct Running {
    started: Started,
    latest: Progress,
    told_at: u64,
}

#[derive(Debug)]
enum Queued {
    /// Begun by an earlier boot; its entry is in the ledger.
    Begun(Started),
    /// Come in this boot.
    Fresh(TeardownCommand, Option<String>),
}

impl Queued {
    fn operation_id(&self) -> OperationId {
        match self {
            Self::Begun(started) => started.operation_id,
            Self::Fresh(command, _) => command.operation_id,
        }
    }
}

impl Commands {
    /// Those that an earlier boot had begun come first.
    pub(super) fn resume(begun: impl Iterator<Item = Started>) -> Self {
        Self {
            running: None,
            queue: begun.map(Queued::Begun).collect(),
        }
    }

    /// Those that have an entry in the ledger.
    pub(super) fn begun(&self) -> impl Iterator<Item = &Started> {
        let queued = self.queue.iter().filter_map(|queued| match queued {
            Queued::Begun(started) => Some(started),
            Queued::Fresh(..) => None,
        });
        self.running
            .iter()
            .map(|running| &running.started)
            .chain(queued)
    }

    /// Takes a command out of the queue, unless an earlier boot had begun it: then it answers true.
    pub(super) fn drop_unless_begun(&mut self, operation_id: OperationId) -> bool {
        let begun = self
            .begun()
            .any(|started| started.operation_id == operation_id);
        if !begun {
            self.queue
                .retain(|queued| queued.operation_id() != operation_id);
        }
        begun
    }

    pub(super) fn running(&self) -> Option<OperationId> {
        self.running
            .as_ref()
            .map(|running| running.started.operation_id)
    }
}

impl Machine {
    pub(super) fn command(
        &mut self,
        now: Now,
        command: AgentCommand,
        traceparent: Option<String>,
        step: &mut Step,
    ) {
        let (host, epoch, operation_id) = match &command {
            AgentCommand::Teardown(command) => (
                &command.host_uuid,
                command.controller_epoch,
                command.operation_id,
            ),
            AgentCommand::Cancel(command) => (
                &command.host_uuid,
                command.controller_epoch,
                command.operation_id,
            ),
        };
        if *host != self.config.host {
            return step.note(Note::Ignored(Ignored::OtherHost(operation_id)));
        }
        if epoch < self.epoch {
            return step.note(Note::Ignored(Ignored::OldEpoch {
                operation_id,
                epoch,
                highest: self.epoch,
            }));
        }
        if epoch > self.epoch {
            self.epoch = epoch;
            step.writes.push(Entry::Epoch {
                controller_epoch: epoch,
            });
        }
        step.note(Note::Command);
        match command {
            AgentCommand::Teardown(command) => self.teardown(now, command, traceparent, step),
            AgentCommand::Cancel(command) => self.withdraw(now, command.operation_id, step),
        }
    }

    fn teardown(
        &mut self,
        now: Now,
        command: TeardownCommand,
        traceparent: Option<String>,
        step: &mut Step,
    ) {
        let id = command.operation_id;
        if self.commands.running() == Some(id) {
            self.tell_started(now, step);
        } else if self.results.has(id) {
            self.results.tell_again(id, now);
        } else if self.withdrawn.has(id) {
            step.note(Note::Ignored(Ignored::Withdrawn(id)));
        } else if self
            .commands
            .queue
            .iter()
            .any(|queued| queued.operation_id() == id)
        {
            // Its turn will come.
        } else if expired(now.wall, command.not_after) {
            self.expire(now, command, traceparent, step);
        } else if self.commands.queue.len() >= MAX_QUEUED {
            step.note(Note::Ignored(Ignored::QueueFull(id)));
        } else {
            self.commands
                .queue
                .push_back(Queued::Fresh(command, traceparent));
            self.begin_next(now, step);
        }
    }

    /// Begins the next command that is still to be executed, unless one runs.
    pub(super) fn begin_next(&mut self, now: Now, step: &mut Step) {
        while self.commands.running.is_none() {
            match self.commands.queue.pop_front() {
                None => return,
                // The operation has ended long ago: what stands under its names now may be new.
                Some(Queued::Begun(started)) if expired(now.wall, started.not_after) => {
                    self.give_up(now, started, "the agent stopped during the teardown, and was started again after its deadline", step);
                }
                Some(Queued::Begun(started)) => self.begin(now, started, true, step),
                Some(Queued::Fresh(command, traceparent))
                    if expired(now.wall, command.not_after) =>
                {
                    self.expire(now, command, traceparent, step);
                }
                Some(Queued::Fresh(command, traceparent)) => {
                    let started = started(now, command, traceparent);
                    step.writes.push(Entry::Started(started.clone()));
                    self.begin(now, started, false, step);
                }
            }
        }
    }

    fn begin(&mut self, now: Now, started: Started, resumed: bool, step: &mut Step) {
        let operation_id = started.operation_id;
        step.note(Note::TeardownStarted {
            operation_id,
            decky_id: started.decky_id.clone(),
            resumed,
        });
        step.effects.push(Effect::StartTeardown {
            teardown: Teardown {
                operation_id,
                decky_id: started.decky_id.clone(),
            },
            traceparent: started.traceparent.clone(),
        });
        self.commands.running = Some(Running {
            started,
            latest: Progress {
                operation_id,
                step: ProgressStep::Started,
                decky_id: None,
                done: None,
                total: None,
            },
            told_at: now.monotonic_ms,
        });
        self.tell_started(now, step);
    }

    /// `started` moves the operation to `running`, and may have been lost: so it is what a repeated
    /// command is answered with, at whatever step the teardown is.
    pub(super) fn tell_started(&mut self, now: Now, step: &mut Step) {
        if let Some(running) = &mut self.commands.running {
            running.told_at = now.monotonic_ms;
            let progress = Progress {
                step: ProgressStep::Started,
                decky_id: None,
                ..running.latest.clone()
            };
            self.tell_progress(progress, step);
        }
    }

    pub(super) fn progress(&mut self, now: Now, progress: Progress, step: &mut Step) {
        let Some(running) = &mut self.commands.running else {
            return;
        };
        if running.started.operation_id != progress.operation_id {
            return;
        }
        let next_step = running.latest.step != progress.step;
        running.latest = progress.clone();
        if next_step || now.monotonic_ms >= running.told_at.saturating_add(PROGRESS_GAP_MS) {
            running.told_at = now.monotonic_ms;
            self.tell_progress(progress, step);
        }
    }

    fn tell_progress(&self, progress: Progress, step: &mut Step) {
        let Some(running) = self.commands.running.as_ref().filter(|_| self.connected) else {
            return;
        };
        step.effects.push(Effect::PublishProgress {
            traceparent: running.started.traceparent.clone(),
            message: TeardownProgress {
                kind: TeardownProgressType,
                operation_id: progress.operation_id,
                boot_id: self.config.boot_id,
                step: progress.step,
                decky_id: progress.decky_id,
                done: progress.done,
                total: progress.total,
            },
        });
    }

    pub(super) fn finished(
        &mut self,
        now: Now,
        operation_id: OperationId,
        report: TeardownReport,
        step: &mut Step,
    ) {
        if self.commands.running() != Some(operation_id) {
            return;
        }
        if let Some(running) = self.commands.running.take() {
            self.end(now, running.started, report, step);
        }
        self.begin_next(now, step);
    }

    fn expire(
        &mut self,
        now: Now,
        command: TeardownCommand,
        traceparent: Option<String>,
        step: &mut Step,
    ) {
        self.give_up(
            now,
            started(now, command, traceparent),
            "command expired",
            step,
        );
    }

    fn give_up(&mut self, now: Now, started: Started, error: &str, step: &mut Step) {
        step.note(Note::Expired {
            operation_id: started.operation_id,
            decky_id: started.decky_id.clone(),
        });
        let report = TeardownReport {
            error: Some(Text::from(error)),
            shards: Vec::new(),
        };
        self.end(now, started, report, step);
    }

    /// Numbers the result, writes it down, and leaves it to `results` to be told.
    fn end(&mut self, now: Now, started: Started, report: TeardownReport, step: &mut Step) {
        let operation_id = started.operation_id;
        let error = overall_error(&report);
        let outcome = match error {
            Some(_) => ResultOutcome::Failed,
            None => ResultOutcome::Succeeded,
        };
        let sequence = self.numbered();
        self.heartbeats.result_numbered(sequence);
        self.inventory_changed(now);
        let finished = Finished {
            not_after: started.not_after,
            traceparent: started.traceparent,
            result: fit(TeardownResult {
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
            }),
        };
        step.writes.push(Entry::Finished(finished.clone()));
        step.note(Note::TeardownFinished {
            operation_id,
            outcome,
            decky_id: started.decky_id,
            error: finished.result.error.clone(),
        });
        self.results.add(finished, now);
    }
}

fn expired(now: Timestamp, not_after: Timestamp) -> bool {
    now.millis_since(not_after) > GRACE_MS
}

fn started(now: Now, command: TeardownCommand, traceparent: Option<String>) -> Started {
    Started {
        operation_id: command.operation_id,
        decky_id: command.decky_id,
        not_after: command.not_after,
        traceparent,
        started_at: now.wall,
    }
}

/// The runtime's own error, or one made of the deckies'.
fn overall_error(report: &TeardownReport) -> Option<Text> {
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
    let why = first.error.as_ref().map_or("no reason given", Text::as_str);
    let text = if report.shards.len() == 1 {
        why.to_owned()
    } else {
        format!(
            "{} of {} deckies were not removed; {}: {why}",
            failed().count(),
            report.shards.len(),
            first.decky_id
        )
    };
    Some(Text::from(text.as_str()))
}
