//! The agent's process: its start, the handling of an input, and its end.

use std::collections::BTreeMap;
use std::path::Path;

use scuttle_agent::ledger::{DiskLedger, Ledger};
use scuttle_agent::machine::{Config, Input, Machine, Now, Step};
use scuttle_schemas::agents::AgentCommand;
use scuttle_schemas::{BootId, Text};

use crate::oracle::violation::{NOTHING_LOST, RECORD_MATCHES, Violation, ensure};
use crate::simulation::{Simulation, note};
use crate::state::agents::host::AgentProcess;
use crate::state::event::Event;

impl Simulation {
    pub(crate) fn agent_now(&self, host: usize, started_at: u64) -> Now {
        Now {
            monotonic_ms: self.now - started_at,
            wall: self.wall_clock(self.agent_hosts[host].clock),
        }
    }

    pub(crate) fn start_agent(&mut self, host: usize) {
        if self.agent_hosts[host].process.is_some() {
            return;
        }
        let agent_host = &mut self.agent_hosts[host];
        agent_host.boots += 1;
        let path = Path::new("simulated");
        let rewrite_bytes = self.plan.ledger_rewrite_bytes;
        let mut ledger =
            DiskLedger::from_file(agent_host.file.clone(), path, &agent_host.id, rewrite_bytes);
        if agent_host.boots == 1 {
            agent_host.file.fail_after(None);
            ledger.replace_entries(&[]).expect("a new ledger");
        }
        let entries = match ledger.load() {
            Ok(entries) => entries,
            Err(error) => {
                agent_host.file.fail_after(None);
                note!(self, "agent {host} cannot start: {error}");
                if !matches!(error, scuttle_agent::LedgerError::Io { .. }) {
                    self.record_check(Err(Violation::new(
                        NOTHING_LOST,
                        format!("agent {host}: {error}"),
                    )));
                }
                self.schedule(1_000, Event::StartAgent(host));
                return;
            }
        };
        let now = self.agent_now(host, self.now);
        let config = Config {
            host: self.agent_hosts[host].id.clone(),
            boot_id: BootId(self.rng.next_uuid_v7(now.wall, &mut 0)),
            version: Text::from("simulated"),
            interval_ms: self.plan.heartbeat_interval_ms,
            seed: self.rng.next_u64(),
            concurrency: self.rng.pick_between(1, self.plan.max_concurrency) as usize,
        };
        self.oracle
            .agent_history(host)
            .start_boot(config.concurrency, &entries);
        note!(self, "agent {host} starts with {} entries", entries.len());
        let (machine, step) = Machine::start(config, entries, now);
        let process = AgentProcess {
            machine,
            ledger,
            started_at: self.now,
            believes_connected: false,
            teardowns: BTreeMap::new(),
            tick_at: u64::MAX,
            sending: None,
        };
        self.apply_agent_step(host, process, step, None);
        if self.agent_hosts[host].connected {
            self.notify_agent_of_connection(host);
        }
    }

    /// Ends an agent's process abruptly, and schedules the start of a new process.
    pub(crate) fn end_agent(&mut self, host: usize) {
        if self.agent_hosts[host].process.take().is_some() {
            note!(self, "agent {host} ends");
            self.counts.crashes += 1;
            let max_delay_ms = if self.faults_stopped { 100 } else { 20_000 };
            let delay_ms = self.rng.pick_below(max_delay_ms);
            self.schedule(delay_ms, Event::StartAgent(host));
        }
    }

    pub(crate) fn notify_agent_of_connection(&mut self, host: usize) {
        let connected = self.agent_hosts[host].connected;
        let Some(process) = &mut self.agent_hosts[host].process else {
            return;
        };
        // If the agent still believes that it is connected, the old connection broke and a new one
        // was made.
        let was_connected = std::mem::replace(&mut process.believes_connected, connected);
        if was_connected {
            self.agent_handles(host, Input::Disconnected);
        }
        if connected {
            self.agent_handles(host, Input::Connected);
        }
    }

    pub(crate) fn agent_tick(&mut self, host: usize, boot: u64) {
        if let Some(process) = &self.agent_hosts[host].process
            && self.agent_hosts[host].boots == boot
            && process.tick_at == self.now
        {
            self.agent_handles(host, Input::Tick);
        }
    }

    pub(crate) fn agent_handles(&mut self, host: usize, input: Input) {
        let Some(mut process) = self.agent_hosts[host].process.take() else {
            return;
        };
        let now = self.agent_now(host, process.started_at);
        let command = match &input {
            Input::Command { command, .. } => Some(command.clone()),
            _ => None,
        };
        let step = process.machine.handle(now, input);
        self.apply_agent_step(host, process, step, command.as_ref());
    }

    /// Checks that the boot id of a process sorts after those of all earlier processes, and that it
    /// never sorts before one that the process itself has used.
    fn check_boot_id(&mut self, host: usize, process: &AgentProcess) -> Result<(), Violation> {
        let boot_id = process.machine.boot_id();
        let is_first_step = process.tick_at == u64::MAX;
        let last = self.agent_hosts[host].last_boot.replace(boot_id);
        let holds = last.is_none_or(|last| last < boot_id || (last == boot_id && !is_first_step));
        ensure(holds, RECORD_MATCHES, || {
            format!("agent {host} has the boot id {boot_id} after {last:?}")
        })
    }

    /// Carries out a step as the agent's own loop does: first makes the writes durable, then
    /// carries out the effects. Ends the process if the writes fail.
    fn apply_agent_step(
        &mut self,
        host: usize,
        mut process: AgentProcess,
        step: Step,
        command: Option<&AgentCommand>,
    ) {
        if !step.writes.is_empty() {
            let mut saved = process.ledger.append(&step.writes);
            if saved.is_ok() && process.ledger.needs_rewrite() {
                saved = process.ledger.rewrite(&process.machine.ledger_entries());
            }
            if let Err(error) = saved {
                note!(self, "agent {host}: {error}");
                self.agent_hosts[host].file.fail_after(None);
                self.agent_hosts[host].process = Some(process);
                self.end_agent(host);
                return;
            }
        }
        let checked = self.check_boot_id(host, &process);
        self.record_check(checked);
        let checked = self
            .oracle
            .agent_history(host)
            .check_step(command, &step.effects);
        self.record_check(checked);
        let removed = process.sending.take();
        for effect in step.effects {
            self.perform_agent_effect(host, &mut process, effect, removed.as_ref());
        }
        let next = process.started_at + process.machine.next_deadline();
        let next = next.max(self.now + 1);
        if process.tick_at != next {
            process.tick_at = next;
            let boot = self.agent_hosts[host].boots;
            self.schedule(next - self.now, Event::AgentTick { host, boot });
        }
        self.agent_hosts[host].process = Some(process);
    }
}
