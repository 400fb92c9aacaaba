//! The handling of a command when it arrives and when its turn comes. The course of a teardown is
//! in `teardowns`; cancel commands are in `cancellations`.

use scuttle_schemas::agents::{AgentCommand, TeardownCommand};
use scuttle_schemas::{MAX_DECKIES_PER_HOST, Timestamp};

use super::effect::Step;
use super::event::{AgentEvent, IgnoreReason};
use super::input::Now;
use super::state::Machine;
use super::state::command_queue::QueuedCommand;
use super::teardowns::Acknowledged;
use crate::ledger::{Entry, StartedTeardown};

/// The maximum number of queued commands: one for every decky that a host can have. The controller
/// resends commands that are dropped because the queue is full.
pub(super) const MAX_QUEUED: usize = MAX_DECKIES_PER_HOST;

/// The tolerated clock skew in milliseconds. A command may still start up to this long after its
/// deadline.
const MAX_CLOCK_SKEW_MS: i64 = 60_000;

impl Machine {
    pub(super) fn handle_command(
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
            return step.emit(AgentEvent::CommandIgnored(IgnoreReason::OtherHost(
                operation_id,
            )));
        }
        if epoch < self.epoch {
            return step.emit(AgentEvent::CommandIgnored(IgnoreReason::OldEpoch {
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
        step.emit(AgentEvent::CommandReceived);
        match command {
            AgentCommand::Teardown(command) => {
                self.handle_teardown_command(now, command, traceparent, step);
            }
            AgentCommand::Cancel(command) => {
                self.handle_cancel(now, command.operation_id, traceparent, step);
            }
        }
    }

    fn handle_teardown_command(
        &mut self,
        now: Now,
        command: TeardownCommand,
        traceparent: Option<String>,
        step: &mut Step,
    ) {
        let id = command.operation_id;
        if self.commands.is_running(id) {
            self.publish_started(now, id, step);
        } else if self.results.contains(id) {
            self.results.schedule_resend(id, now);
        } else if self.cancelled.contains(id) {
            step.emit(AgentEvent::CommandIgnored(IgnoreReason::AlreadyCancelled(
                id,
            )));
        } else if self.commands.is_waiting(id) {
            self.acknowledge(now, Acknowledged::Teardown(id), traceparent, step);
        } else if is_expired(now.wall, command.not_after) {
            self.expire(
                now,
                StartedTeardown::new(command, traceparent, now.wall),
                step,
            );
        } else if self.commands.waiting_count() >= MAX_QUEUED {
            step.emit(AgentEvent::CommandIgnored(IgnoreReason::QueueFull(id)));
        } else {
            self.commands.push(QueuedCommand::New {
                command,
                traceparent: traceparent.clone(),
            });
            self.start_commands(now, step);
            // A command that starts is acknowledged by the step `started`.
            if self.commands.is_waiting(id) {
                self.acknowledge(now, Acknowledged::Teardown(id), traceparent, step);
            }
        }
    }

    /// Starts every waiting command that may start. A command that has expired by its turn ends as
    /// failed instead.
    pub(super) fn start_commands(&mut self, now: Now, step: &mut Step) {
        while let Some(next) = self.commands.take_startable() {
            match next {
                // The operation ended at the controller long ago. The decky that has this name now
                // may be a new one.
                QueuedCommand::Resumed(started) if is_expired(now.wall, started.not_after) => {
                    let error =
                        "the agent stopped during the teardown and restarted after its deadline";
                    self.fail_without_running(now, started, error, step);
                }
                QueuedCommand::Resumed(started) => self.start_teardown(now, started, true, step),
                QueuedCommand::New {
                    command,
                    traceparent,
                } if is_expired(now.wall, command.not_after) => {
                    self.expire(
                        now,
                        StartedTeardown::new(command, traceparent, now.wall),
                        step,
                    );
                }
                QueuedCommand::New {
                    command,
                    traceparent,
                } => {
                    let started = StartedTeardown::new(command, traceparent, now.wall);
                    step.writes.push(Entry::Started(started.clone()));
                    self.start_teardown(now, started, false, step);
                }
            }
        }
    }

    fn expire(&mut self, now: Now, command: StartedTeardown, step: &mut Step) {
        self.fail_without_running(now, command, "command expired", step);
    }
}

fn is_expired(now: Timestamp, not_after: Timestamp) -> bool {
    now.millis_since(not_after) > MAX_CLOCK_SKEW_MS
}
