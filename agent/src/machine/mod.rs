//! The agent's decisions. The code is pure: it has no clock, no randomness, no async and no I/O.
//!
//! The agent's loop (`crate::run`) and the deterministic simulation pass inputs to the machine and
//! carry out its effects. This file contains the entry points; each kind of input has its own file.

mod backoff;
mod boot;
mod cancellations;
mod commands;
mod effect;
mod event;
mod heartbeats;
pub mod input;
mod message_sizes;
mod results;
mod state;
mod teardowns;
#[cfg(test)]
mod tests;

use scuttle_schemas::{BootId, Note, OperationId, Timestamp};

use boot::later_boot;
pub use effect::{Effect, Step};
pub use event::{AgentEvent, IgnoreReason};
pub use input::{HeartbeatPage, Input, Now};
pub use state::{Config, Machine};

use crate::ledger::{Entry, StartedTeardown};
use state::command_queue::QueuedCommand;

/// The interval at which expired results and cancellations are removed, in milliseconds.
const CLEANUP_INTERVAL_MS: u64 = 60_000;

impl Machine {
    /// Starts a new boot from the entries of the ledger. The returned step must be carried out
    /// before the first input.
    pub fn start(mut config: Config, entries: Vec<Entry>, now: Now) -> (Self, Step) {
        let last_boot = entries.iter().filter_map(|entry| match entry {
            Entry::Boot { boot_id } => Some(*boot_id),
            _ => None,
        });
        config.boot_id = later_boot(config.boot_id, last_boot.max());
        let mut step = Step::default();
        step.writes.push(Entry::Boot {
            boot_id: config.boot_id,
        });
        let cleanup_at = now.monotonic_ms.saturating_add(CLEANUP_INTERVAL_MS);
        let mut machine = Self::new(config, cleanup_at);
        machine.restore(entries, now);
        machine.start_commands(now, &mut step);
        (machine, step)
    }

    fn restore(&mut self, entries: Vec<Entry>, now: Now) {
        let mut started: Vec<StartedTeardown> = Vec::new();
        for entry in entries {
            match entry {
                Entry::Boot { .. } => {}
                Entry::Epoch { controller_epoch } => self.epoch = self.epoch.max(controller_epoch),
                Entry::Started(teardown) => started.push(teardown),
                Entry::Finished(teardown) => {
                    let ended = teardown.result.operation_id;
                    started.retain(|teardown| teardown.operation_id != ended);
                    self.results.add(teardown, now);
                }
                Entry::Cancelled { operation_id } => self.cancelled.restore(operation_id),
                Entry::Recorded { operation_id } => self.results.restore_recorded(operation_id),
            }
        }
        for teardown in started {
            self.commands.push(QueuedCommand::Resumed(teardown));
        }
    }

    /// Sets the maximum size of a message with its headers that the NATS server accepts, in bytes.
    pub fn set_max_payload(&mut self, max_payload: usize) {
        self.max_payload = max_payload;
    }

    /// Adds a note about the agent itself to all further heartbeats.
    pub fn set_agent_note(&mut self, note: Note) {
        self.heartbeats.agent_note = Some(note);
    }

    /// Handles one input. The writes of the returned step must be durable before its effects are
    /// carried out, and both must be complete before the next input.
    pub fn handle(&mut self, now: Now, input: Input) -> Step {
        let mut step = Step::default();
        match input {
            Input::Connected => {
                self.connected = true;
                self.results.schedule_all(now);
                self.schedule_first_heartbeat(now);
                self.publish_all_started(now, &mut step);
            }
            Input::Disconnected => {
                self.connected = false;
                self.results.schedule_all(now);
                self.heartbeats.forget_in_flight();
            }
            Input::Command {
                command,
                traceparent,
            } => self.handle_command(now, command, traceparent, &mut step),
            Input::Progress(progress) => self.handle_progress(now, progress, &mut step),
            Input::Finished {
                operation_id,
                report,
            } => self.handle_finished(now, operation_id, report, &mut step),
            Input::InventoryRead(inventory) => {
                self.handle_inventory_read(now, inventory, &mut step);
            }
            Input::InventoryChanged => self.handle_inventory_changed(now),
            Input::HeartbeatReply { request, reply } => {
                self.handle_heartbeat_reply(now, request, reply, &mut step);
            }
            Input::ResultReply {
                operation_id,
                reply,
            } => self.handle_result_reply(now, operation_id, reply, &mut step),
            Input::Tick => {}
        }
        if self.cleanup_at <= now.monotonic_ms {
            self.cleanup_at = now.monotonic_ms.saturating_add(CLEANUP_INTERVAL_MS);
            self.results.remove_expired(now.wall);
            self.cancelled.remove_expired(now.wall);
        }
        if self.connected {
            self.send_due_results(now, &mut step);
            self.send_heartbeat_if_due(now, &mut step);
        }
        step
    }

    /// Returns the time at which the next `Input::Tick` is needed, in milliseconds on the monotonic
    /// clock.
    pub fn next_deadline(&self) -> u64 {
        let mut next = self.cleanup_at;
        if self.connected {
            next = next.min(self.heartbeats.next_deadline());
            next = self
                .results
                .next_deadline()
                .map_or(next, |due| next.min(due));
        }
        next
    }

    /// Returns the shortest list of entries from which a later boot can continue.
    pub fn ledger_entries(&self) -> Vec<Entry> {
        let mut entries = vec![
            Entry::Boot {
                boot_id: self.config.boot_id,
            },
            Entry::Epoch {
                controller_epoch: self.epoch,
            },
        ];
        entries.extend(self.commands.started().cloned().map(Entry::Started));
        entries.extend(self.results.to_entries());
        entries.extend(self.cancelled.to_entries());
        entries
    }

    /// Returns the operations that were started and whose results the controller has not recorded,
    /// with their deadlines.
    pub fn unrecorded(&self) -> impl Iterator<Item = (OperationId, Timestamp)> {
        let started = self.commands.started();
        let started = started.map(|started| (started.operation_id, started.not_after));
        let finished = self.results.finished.iter();
        let finished = finished.filter(|(_, operation)| !operation.recorded);
        started.chain(finished.map(|(id, operation)| (*id, operation.finished.not_after)))
    }

    /// Returns the id of this boot. It differs from the id in `Config` if the host's clock has
    /// jumped back.
    pub fn boot_id(&self) -> BootId {
        self.config.boot_id
    }

    /// Returns the number of results whose delivery the controller has not confirmed.
    pub fn open_results(&self) -> usize {
        self.results.open_count()
    }
}
