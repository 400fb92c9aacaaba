//! A worker host: the real agent's machine and ledger, on a simulated disk, clock and link, over a simulated
//! runtime. What the runtime does to its deckies is in `deckies`; here is the agent's process.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use async_nats::{HeaderMap, Message};
use scuttle_agent::ledger::{DiskLedger, Ledger};
use scuttle_agent::machine::{Config, Effect, Input, Machine, Now, RequestId, Step};
use scuttle_agent::runtime::{RuntimeError, TeardownReport};
use scuttle_schemas::agents::{AgentCommand, ReportedShard};
use scuttle_schemas::headers::TRACEPARENT;
use scuttle_schemas::subjects::AgentChannel;
use scuttle_schemas::{BootId, HostId, OperationId, Text};
use serde::Serialize;

use crate::chance::Chance;
use crate::controller::uuid7;
use crate::deckies::{Deckies, Gone, Teardown};
use crate::ledger::AgentFile;
use crate::network::{Link, inbox, message};
use crate::oracle::Broken;
use crate::plan::Plan;
use crate::world::{Event, World, note};

/// What an agent saw at one moment: what it will tell, and the truth behind it.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) inventory: Arc<[ReportedShard]>,
    pub(crate) gone: Gone,
    pub(crate) report: Option<(OperationId, TeardownReport)>,
}

/// One worker host.
pub(crate) struct Worker {
    pub(crate) host: HostId,
    pub(crate) name: String,
    pub(crate) file: AgentFile,
    pub(crate) process: Option<AgentProcess>,
    /// Counts the processes.
    pub(crate) boots: u64,
    pub(crate) link_up: bool,
    pub(crate) clock: i64,
    pub(crate) deckies: Deckies,
    pub(crate) unreadable: bool,
    /// What agents of this host have shown to the world, whichever process.
    shown: Shown,
}

/// What is known of an agent from what it did, for the rules that bind it across its restarts.
#[derive(Debug, Default)]
struct Shown {
    /// Operations whose result it has told.
    ended: BTreeSet<OperationId>,
    begun: BTreeSet<OperationId>,
    /// Withdrawn before they were begun.
    withdrawn: BTreeSet<OperationId>,
    highest_epoch: u64,
}

/// One run of an agent.
pub(crate) struct AgentProcess {
    pub(crate) machine: Machine,
    ledger: DiskLedger<AgentFile>,
    began: u64,
    /// It knows of its connection.
    connected: bool,
    pub(crate) teardown: Option<Teardown>,
    tick_at: u64,
    /// The inventory that is being sent, and what was true when it was read.
    sending: Option<Gone>,
}

impl Worker {
    pub(crate) fn new(index: usize, plan: &Plan, chance: &mut Chance) -> Self {
        let name = format!("h{index}");
        Self {
            host: name.parse().expect("a valid host_uuid"),
            file: AgentFile::new(chance.draw()),
            process: None,
            boots: 0,
            link_up: true,
            clock: chance.below(120_001).cast_signed() - 60_000,
            deckies: Deckies::new(plan, chance),
            unreadable: false,
            shown: Shown::default(),
            name,
        }
    }
}

impl World {
    fn agent_now(&self, host: usize, began: u64) -> Now {
        Now {
            monotonic_ms: self.now - began,
            wall: self.wall(self.workers[host].clock),
        }
    }

    pub(crate) fn start_agent(&mut self, host: usize) {
        if self.workers[host].process.is_some() {
            return;
        }
        let worker = &mut self.workers[host];
        worker.boots += 1;
        let path = Path::new("simulated");
        let long = self.plan.long_ledger;
        let mut ledger = DiskLedger::over(worker.file.clone(), path, &worker.host, long);
        if worker.boots == 1 {
            worker.file.light_fuse(None);
            ledger.replace(&[]).expect("a new ledger");
        }
        let entries = match ledger.load() {
            Ok(entries) => entries,
            Err(error) => {
                worker.file.light_fuse(None);
                note!(self, "agent {host} cannot start: {error}");
                if !matches!(error, scuttle_agent::LedgerError::Io { .. }) {
                    self.check(Err(Broken::new(
                        "1 nothing is lost",
                        format!("agent {host}: {error}"),
                    )));
                }
                self.after(1_000, Event::StartAgent(host));
                return;
            }
        };
        let now = self.agent_now(host, self.now);
        let config = Config {
            host: self.workers[host].host.clone(),
            boot_id: BootId(uuid7(now.wall, &mut 0, &mut self.chance)),
            version: Text::from("simulated"),
            interval_ms: self.plan.interval_ms,
            seed: self.chance.draw(),
        };
        note!(self, "agent {host} starts with {} entries", entries.len());
        let (machine, step) = Machine::start(config, entries, now);
        let process = AgentProcess {
            machine,
            ledger,
            began: self.now,
            connected: false,
            teardown: None,
            tick_at: u64::MAX,
            sending: None,
        };
        self.agent_applies(host, process, step, None);
        if self.workers[host].link_up {
            self.agent_learns_of_link(host);
        }
    }

    /// Ends an agent's process; another starts later.
    pub(crate) fn end_agent(&mut self, host: usize) {
        if self.workers[host].process.take().is_some() {
            note!(self, "agent {host} ends");
            self.counts.crashes += 1;
            let most = if self.healed { 100 } else { 20_000 };
            let wait = self.chance.below(most);
            self.after(wait, Event::StartAgent(host));
        }
    }

    pub(crate) fn agent_learns_of_link(&mut self, host: usize) {
        let up = self.workers[host].link_up;
        let Some(process) = &mut self.workers[host].process else {
            return;
        };
        // Up while it counts as up: the old connection went and a new one came.
        let was = std::mem::replace(&mut process.connected, up);
        if was {
            self.agent_takes(host, Input::Disconnected);
        }
        if up {
            self.agent_takes(host, Input::Connected);
        }
    }

    pub(crate) fn agent_tick(&mut self, host: usize, boot: u64) {
        if let Some(process) = &self.workers[host].process
            && self.workers[host].boots == boot
            && process.tick_at == self.now
        {
            self.agent_takes(host, Input::Tick);
        }
    }

    pub(crate) fn inventory_read(&mut self, host: usize, boot: u64, seen: Seen) {
        let unreadable = self.workers[host].unreadable;
        let now = self.workers[host].boots == boot;
        if let Some(process) = self.workers[host].process.as_mut().filter(|_| now) {
            process.sending = Some(seen.gone);
            let read = if unreadable {
                Err(RuntimeError("the runtime is away".to_owned()))
            } else {
                Ok(seen.inventory)
            };
            self.agent_takes(host, Input::InventoryRead(read));
        }
    }

    pub(crate) fn verified(&mut self, host: usize, boot: u64, seen: Seen) {
        if self.workers[host].boots != boot || self.workers[host].process.is_none() {
            return;
        }
        let Some((operation_id, report)) = seen.report else {
            return;
        };
        let id = &self.workers[host].host;
        self.oracle
            .of_host_mut(id)
            .observed_result(host, operation_id, seen.gone);
        note!(self, "agent {host} finishes {operation_id}: {report:?}");
        self.agent_takes(
            host,
            Input::Finished {
                operation_id,
                report,
            },
        );
    }

    pub(crate) fn agent_receives(&mut self, host: usize, received: &Message) {
        let process = &self.workers[host].process;
        if !process.as_ref().is_some_and(|process| process.connected) {
            return;
        }
        let input = if received.subject.starts_with("_INBOX.") {
            // Each process has an inbox of its own: an answer to one that is gone reaches nobody.
            let own = format!("{}.", self.agent_inbox(host));
            if !received.subject.starts_with(&own) {
                return;
            }
            scuttle_agent::run::reply(received)
        } else {
            scuttle_agent::run::command(received)
        };
        let Some(input) = input else { return };
        let withdrawal = matches!(
            &input,
            Input::Command {
                command: AgentCommand::Cancel(_),
                ..
            }
        );
        self.agent_takes(host, input);
        // What it remembers of a withdrawal is for a late copy of the command: that it is lost by then is rare without this.
        if withdrawal && !self.healed && self.plan.agents_die() && self.chance.happens(300) {
            self.end_agent(host);
        }
    }

    pub(crate) fn agent_takes(&mut self, host: usize, input: Input) {
        let Some(mut process) = self.workers[host].process.take() else {
            return;
        };
        let now = self.agent_now(host, process.began);
        let command = match &input {
            Input::Command { command, .. } => Some(command.clone()),
            _ => None,
        };
        let step = process.machine.handle(now, input);
        self.agent_applies(host, process, step, command.as_ref());
    }

    /// Durable first, then the effects: as the agent's loop does.
    fn agent_applies(
        &mut self,
        host: usize,
        mut process: AgentProcess,
        step: Step,
        command: Option<&AgentCommand>,
    ) {
        if !step.writes.is_empty() {
            let mut kept = process.ledger.append(&step.writes);
            if kept.is_ok() && process.ledger.is_long() {
                kept = process.ledger.rewrite(&process.machine.ledger_entries());
            }
            if let Err(error) = kept {
                note!(self, "agent {host}: {error}");
                self.workers[host].file.light_fuse(None);
                self.workers[host].process = Some(process);
                self.end_agent(host);
                return;
            }
        }
        let checked = self.workers[host].shown.take(command, &step.effects);
        self.check(checked);
        let gone = process.sending.take();
        for effect in step.effects {
            self.agent_does(host, &mut process, effect, gone.as_ref());
        }
        let next = process.began + process.machine.next_deadline();
        let next = next.max(self.now + 1);
        if process.tick_at != next {
            process.tick_at = next;
            let boot = self.workers[host].boots;
            self.after(next - self.now, Event::AgentTick(host, boot));
        }
        self.workers[host].process = Some(process);
    }

    fn agent_does(
        &mut self,
        host: usize,
        process: &mut AgentProcess,
        effect: Effect,
        gone: Option<&Gone>,
    ) {
        let id = self.workers[host].host.clone();
        match effect {
            Effect::Note(said) => note!(self, "agent {host}: {said:?}"),
            Effect::ReadInventory => {
                let seen = Box::new(self.workers[host].deckies.look(None));
                let (wait, boot) = (self.chance.below(40), self.workers[host].boots);
                self.after(wait, Event::InventoryRead(host, boot, seen));
            }
            Effect::StartTeardown { teardown, .. } => {
                let now = self.agent_now(host, process.began);
                let checked = self
                    .oracle
                    .of_host(&id)
                    .begins(host, &id, &teardown, now.wall);
                self.check(checked);
                let targets = self.workers[host].deckies.targets(&teardown);
                note!(
                    self,
                    "agent {host} begins {} on {targets:?}",
                    teardown.operation_id
                );
                process.teardown = Some(Teardown::new(teardown, targets));
                let (wait, boot) = (
                    self.chance.below(self.plan.removal_ms),
                    self.workers[host].boots,
                );
                self.after(wait, Event::Removal(host, boot));
            }
            Effect::PublishProgress {
                message,
                traceparent,
            } => {
                let subject = AgentChannel::Progress.of(&id);
                self.agent_sends(host, &subject, None, traceparent, &message);
            }
            Effect::RequestResult {
                message,
                traceparent,
            } => {
                self.workers[host].shown.ended.insert(message.operation_id);
                let reply = self.reply_to(host, RequestId::Result(message.operation_id));
                let subject = AgentChannel::Results.of(&id);
                self.agent_sends(host, &subject, Some(&reply), traceparent, &message);
            }
            Effect::RequestHeartbeat(message) => {
                if let (Some(gone), true) = (gone, message.shards.is_some()) {
                    let report = (message.boot_id, message.sequence);
                    self.oracle
                        .of_host_mut(&id)
                        .observed_inventory(host, report, gone.clone());
                }
                let request = RequestId::Heartbeat {
                    sequence: message.sequence,
                    page: message.page,
                };
                let subject = AgentChannel::Heartbeat.of(&id);
                let reply = self.reply_to(host, request);
                self.agent_sends(host, &subject, Some(&reply), None, &message);
            }
        }
    }

    fn agent_inbox(&self, host: usize) -> String {
        format!("{}.{}", inbox(Link::Agent(host)), self.workers[host].boots)
    }

    fn reply_to(&self, host: usize, request: RequestId) -> String {
        format!("{}.{request}", self.agent_inbox(host))
    }

    fn agent_sends(
        &mut self,
        host: usize,
        subject: &str,
        reply: Option<&str>,
        traceparent: Option<String>,
        content: &impl Serialize,
    ) {
        let payload = serde_json::to_vec(content).expect("a wire message has a JSON form");
        let headers = traceparent.map(|trace| {
            let mut map = HeaderMap::new();
            map.insert(TRACEPARENT, trace.as_str());
            map
        });
        // Sending happens while the process is taken out of its place.
        let link_up = self.workers[host].link_up;
        let message = message(subject, reply, headers, payload.into());
        if link_up {
            self.send_alive(Link::Agent(host), &message);
        }
    }
}

impl Shown {
    /// What binds an agent across its restarts: an operation is executed once, a withdrawn one not at all,
    /// and none for a controller that another has followed.
    fn take(&mut self, command: Option<&AgentCommand>, effects: &[Effect]) -> Result<(), Broken> {
        let epoch = match command {
            Some(AgentCommand::Teardown(command)) => command.controller_epoch,
            Some(AgentCommand::Cancel(command)) => command.controller_epoch,
            None => self.highest_epoch,
        };
        for effect in effects {
            let Effect::StartTeardown { teardown, .. } = effect else {
                continue;
            };
            let id = teardown.operation_id;
            let broken = |what: &str| {
                Err(Broken::new(
                    "5 executed at most once",
                    format!("{id} {what}"),
                ))
            };
            if self.ended.contains(&id) {
                return broken("is executed again, after its result was told");
            }
            if self.withdrawn.contains(&id) && !self.begun.contains(&id) {
                return broken("is executed, after it was withdrawn");
            }
            if epoch < self.highest_epoch {
                return broken("is executed for a controller of an older epoch");
            }
            self.begun.insert(id);
        }
        if let Some(AgentCommand::Cancel(command)) = command
            && epoch >= self.highest_epoch
            && !self.begun.contains(&command.operation_id)
            && !self.ended.contains(&command.operation_id)
        {
            self.withdrawn.insert(command.operation_id);
        }
        self.highest_epoch = self.highest_epoch.max(epoch);
        Ok(())
    }
}

/// By decky.
pub(crate) type ByDecky<T> = BTreeMap<scuttle_schemas::DeckyId, T>;
