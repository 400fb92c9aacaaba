//! The agent's decisions, pure: no clock, no randomness, no async, no IO. `run` feeds it and does what it
//! says, and so does the deterministic simulation.
//!
//! `io` holds its inputs and effects, `commands` what becomes of a command, `results` and `heartbeats` how each is
//! told until it is heard.

mod commands;
mod heartbeats;
mod io;
mod results;
#[cfg(test)]
mod tests;
mod waits;
mod withdrawals;

use std::collections::BTreeMap;

use scuttle_schemas::{BootId, HostId, Text};
use uuid::Uuid;

pub use commands::MAX_QUEUED;
pub use io::{
    Effect, Ignored, Input, InvalidRequestId, Note, Now, Progress, RequestId, Step, Unanswered,
};

use crate::ledger::Entry;
use commands::Commands;
use heartbeats::Heartbeats;
use results::Results;
use waits::Jitter;
use withdrawals::Withdrawn;

/// How often entries that may go are looked for, in milliseconds.
const SWEEP_MS: u64 = 60_000;

/// Who this agent is.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its host.
    pub host: HostId,
    /// A fresh `UUIDv7`. (The machine makes it a later one when an earlier boot's sorts after it.)
    pub boot_id: BootId,
    /// The program's version.
    pub version: Text,
    /// Milliseconds between heartbeats, 1 to 3600000.
    pub interval_ms: u32,
    /// Decides the jitter of every wait.
    pub seed: u64,
}

/// One boot of one agent.
#[derive(Debug)]
pub struct Machine {
    config: Config,
    jitter: Jitter,
    connected: bool,
    /// The number of the last report; see `numbered`.
    sequence: u64,
    /// The highest epoch seen.
    epoch: u64,
    commands: Commands,
    results: Results,
    withdrawn: Withdrawn,
    heartbeats: Heartbeats,
    sweep_at: u64,
}

impl Machine {
    /// A new boot on top of what the ledger has kept. The step is to be done before any input is given.
    pub fn start(mut config: Config, entries: Vec<Entry>, now: Now) -> (Self, Step) {
        let mut epoch = 0;
        let mut last_boot = None;
        let mut begun = BTreeMap::new();
        let mut results = Results::default();
        let mut withdrawn = Withdrawn::default();
        for entry in entries {
            match entry {
                Entry::Boot { boot_id } => last_boot = last_boot.max(Some(boot_id)),
                Entry::Epoch { controller_epoch } => epoch = epoch.max(controller_epoch),
                Entry::Started(started) => {
                    begun.insert(started.operation_id, started);
                }
                Entry::Finished(finished) => {
                    begun.remove(&finished.result.operation_id);
                    results.restore(finished, now);
                }
                Entry::Withdrawn { operation_id } => withdrawn.restore(operation_id),
                Entry::Recorded { operation_id } => results.restore_recorded(operation_id),
            }
        }
        config.boot_id = later_boot(config.boot_id, last_boot);
        let mut step = Step::default();
        step.writes.push(Entry::Boot {
            boot_id: config.boot_id,
        });
        let mut machine = Self {
            jitter: Jitter::new(config.seed),
            connected: false,
            sequence: 0,
            epoch,
            commands: Commands::resume(begun.into_values()),
            results,
            withdrawn,
            heartbeats: Heartbeats::default(),
            sweep_at: now.monotonic_ms.saturating_add(SWEEP_MS),
            config,
        };
        machine.begin_next(now, &mut step);
        (machine, step)
    }

    /// Takes one input. Its step's writes must be durable before its effects are done, and both be done before
    /// the next input is given.
    pub fn handle(&mut self, now: Now, input: Input) -> Step {
        let mut step = Step::default();
        match input {
            Input::Connected => {
                self.connected = true;
                self.results.all_due(now);
                self.heartbeat_after_connecting(now);
                self.tell_started(now, &mut step);
            }
            Input::Disconnected => {
                self.connected = false;
                self.results.all_due(now);
                self.heartbeats.forget_outstanding();
            }
            Input::Command {
                command,
                traceparent,
            } => {
                self.command(now, command, traceparent, &mut step);
            }
            Input::Progress(progress) => self.progress(now, progress, &mut step),
            Input::Finished {
                operation_id,
                report,
            } => {
                self.finished(now, operation_id, report, &mut step);
            }
            Input::InventoryRead(inventory) => self.inventory_read(now, inventory, &mut step),
            Input::InventoryChanged => self.inventory_changed(now),
            Input::HeartbeatAnswered {
                sequence,
                page,
                answer,
            } => {
                self.heartbeat_answered(now, (sequence, page), answer, &mut step);
            }
            Input::ResultAnswered {
                operation_id,
                answer,
            } => {
                self.result_answered(now, operation_id, answer, &mut step);
            }
            Input::Tick => {}
        }
        if self.sweep_at <= now.monotonic_ms {
            self.sweep_at = now.monotonic_ms.saturating_add(SWEEP_MS);
            self.results.sweep(now.wall);
            self.withdrawn.sweep(now.wall);
        }
        if self.connected {
            self.send_due_results(now, &mut step);
            self.heartbeat_if_due(now, &mut step);
        }
        step
    }

    /// When, on the monotonic clock, the next `Tick` is wanted.
    pub fn next_deadline(&self) -> u64 {
        let mut next = self.sweep_at;
        if self.connected {
            next = next.min(self.heartbeats.next_deadline());
            next = self
                .results
                .next_deadline()
                .map_or(next, |due| next.min(due));
        }
        next
    }

    /// All that the ledger must keep, in the fewest entries.
    pub fn ledger_entries(&self) -> Vec<Entry> {
        let mut entries = vec![
            Entry::Boot {
                boot_id: self.config.boot_id,
            },
            Entry::Epoch {
                controller_epoch: self.epoch,
            },
        ];
        entries.extend(self.commands.begun().cloned().map(Entry::Started));
        entries.extend(self.results.entries());
        entries.extend(self.withdrawn.entries());
        entries
    }

    /// This boot's id.
    pub fn boot_id(&self) -> BootId {
        self.config.boot_id
    }

    /// How many results the controller has not recorded yet.
    pub fn open_results(&self) -> usize {
        self.results.open()
    }

    /// The number of the next report. It is taken where the machine learns what was observed; that the
    /// numbers are in the order of the observations is seen to by `inventory_read`.
    fn numbered(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }
}

/// `fresh`, or, when the host's clock has jumped back, an id with `fresh`'s random part, one millisecond
/// after the last boot's.
fn later_boot(fresh: BootId, last: Option<BootId>) -> BootId {
    /// A `UUIDv7` has its milliseconds above this bit.
    const MILLISECONDS: u32 = 80;
    match last {
        Some(last) if fresh <= last => {
            let millis = (last.0.as_u128() >> MILLISECONDS).wrapping_add(1) << MILLISECONDS;
            let rest = fresh.0.as_u128() & ((1 << MILLISECONDS) - 1);
            BootId(Uuid::from_u128(millis | rest))
        }
        _ => fresh,
    }
}
