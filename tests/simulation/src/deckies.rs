//! The simulated runtime: which deckies exist, in truth. Each deployment of a name is a generation of it; what
//! was removed is known by generation, so that a new deployment is never taken for the old one.

use std::collections::{BTreeMap, VecDeque};

use scuttle_agent::machine::{Input, Progress};
use scuttle_agent::runtime::{self, TeardownReport};
use scuttle_schemas::agents::{
    ProgressStep, ReportedOutcome, ReportedShard, ReportedState, ShardResult,
};
use scuttle_schemas::{DeckyId, Labels, OperationId, Services, Text};

use crate::agents::{ByDecky, Seen};
use crate::chance::Chance;
use crate::plan::Plan;
use crate::world::{Event, World, note};

/// By decky, through which generation it was gone at some moment: for one that exists, the last before it.
pub(crate) type Gone = ByDecky<u64>;

/// What runs on a host.
#[derive(Debug)]
pub(crate) struct Deckies {
    names: Vec<DeckyId>,
    /// How often each name was deployed.
    generations: ByDecky<u64>,
    running: ByDecky<ReportedState>,
}

/// A teardown at work.
#[derive(Debug)]
pub(crate) struct Teardown {
    pub(crate) operation_id: OperationId,
    only: Option<DeckyId>,
    targets: Vec<DeckyId>,
    left: VecDeque<DeckyId>,
    failed: BTreeMap<DeckyId, Text>,
}

impl Teardown {
    pub(crate) fn new(teardown: runtime::Teardown, targets: Vec<DeckyId>) -> Self {
        Self {
            operation_id: teardown.operation_id,
            only: teardown.decky_id,
            left: targets.iter().cloned().collect(),
            targets,
            failed: BTreeMap::new(),
        }
    }
}

impl Deckies {
    pub(crate) fn new(plan: &Plan, chance: &mut Chance) -> Self {
        let names = (0..plan.deckies).map(|number| format!("d{number}"));
        let mut deckies = Self {
            names: names
                .map(|name| name.parse().expect("a valid name"))
                .collect(),
            generations: BTreeMap::new(),
            running: BTreeMap::new(),
        };
        for name in deckies.names.clone() {
            if chance.happens(700) {
                deckies.deploy(&name);
            }
        }
        deckies
    }

    pub(crate) fn names(&self) -> &[DeckyId] {
        &self.names
    }

    pub(crate) fn running(&self) -> &ByDecky<ReportedState> {
        &self.running
    }

    fn deploy(&mut self, name: &DeckyId) -> bool {
        if self.running.contains_key(name) {
            return false;
        }
        *self.generations.entry(name.clone()).or_default() += 1;
        self.running.insert(name.clone(), ReportedState::Running);
        true
    }

    fn gone(&self) -> Gone {
        let gone = |(name, generation): (&DeckyId, &u64)| {
            let exists = self.running.contains_key(name);
            (name.clone(), generation - u64::from(exists))
        };
        self.generations.iter().map(gone).collect()
    }

    pub(crate) fn look(&self, report: Option<(OperationId, TeardownReport)>) -> Seen {
        let shard = |(name, state): (&DeckyId, &ReportedState)| ReportedShard {
            decky_id: name.clone(),
            state: *state,
            services: Services::default(),
            // Tells the deployments of one name apart.
            decky_ip: Some(format!("10.0.0.{}", self.generations[name])),
            labels: Labels::default(),
        };
        Seen {
            inventory: self.running.iter().map(shard).collect::<Vec<_>>().into(),
            gone: self.gone(),
            report,
        }
    }

    pub(crate) fn targets(&self, teardown: &runtime::Teardown) -> Vec<DeckyId> {
        let only = teardown.decky_id.as_ref();
        let targets = self.running.keys();
        targets
            .filter(|name| only.is_none_or(|only| only == *name))
            .cloned()
            .collect()
    }

    /// Looks again, and says what became of each target.
    fn report(&self, teardown: &Teardown) -> TeardownReport {
        let mut named = teardown.targets.clone();
        if let Some(only) = &teardown.only
            && named.is_empty()
        {
            named.push(only.clone());
        }
        let shards = named.into_iter().map(|decky_id| {
            let (outcome, error) = match teardown.failed.get(&decky_id) {
                Some(error) => (ReportedOutcome::Failed, Some(error.clone())),
                None if self.running.contains_key(&decky_id) => (
                    ReportedOutcome::Failed,
                    Some(Text::from("it is there again")),
                ),
                None if teardown.targets.contains(&decky_id) => (ReportedOutcome::Removed, None),
                None => (ReportedOutcome::Absent, None),
            };
            ShardResult {
                decky_id,
                outcome,
                error,
            }
        });
        TeardownReport {
            error: None,
            shards: shards.collect(),
        }
    }
}

impl World {
    /// Something deploys a decky, unless it runs already.
    pub(crate) fn deploy(&mut self, host: usize, name: &DeckyId) {
        if self.workers[host].deckies.deploy(name) {
            let generation = self.workers[host].deckies.generations[name];
            note!(self, "deployed h{host}/{name}, generation {generation}");
            self.agent_takes(host, Input::InventoryChanged);
        }
    }

    pub(crate) fn change_state(&mut self, host: usize, name: &DeckyId) {
        let states = [
            ReportedState::Pending,
            ReportedState::Running,
            ReportedState::Degraded,
            ReportedState::Failed,
        ];
        let to = self.chance.pick(&states).copied();
        let running = &mut self.workers[host].deckies.running;
        if let (Some(state), Some(to)) = (running.get_mut(name), to) {
            *state = to;
            note!(self, "h{host}/{name} is {to:?}");
            self.agent_takes(host, Input::InventoryChanged);
        }
    }

    /// The running teardown removes one decky, or looks again when none is left.
    pub(crate) fn removal(&mut self, host: usize, boot: u64) {
        let fails = !self.healed && self.chance.happens(self.plan.removal_fails);
        let wait = self.chance.below(self.plan.removal_ms);
        let worker = &mut self.workers[host];
        let Some(process) = worker.process.as_mut().filter(|_| worker.boots == boot) else {
            return;
        };
        let Some(teardown) = &mut process.teardown else {
            return;
        };
        let operation_id = teardown.operation_id;
        let Some(name) = teardown.left.pop_front() else {
            let report = worker.deckies.report(teardown);
            process.teardown = None;
            let seen = worker.deckies.look(Some((operation_id, report)));
            self.after(wait.min(30), Event::Verified(host, boot, Box::new(seen)));
            return;
        };
        if fails {
            teardown
                .failed
                .insert(name.clone(), Text::from("container busy"));
        } else {
            worker.deckies.running.remove(&name);
        }
        let (left, total) = (teardown.left.len() as u32, teardown.targets.len() as u32);
        note!(
            self,
            "agent {host} {} {name} for {operation_id}",
            if fails { "cannot remove" } else { "removes" }
        );
        self.counts.removed += u64::from(!fails);
        let id = self.workers[host].host.clone();
        let checked = self.oracle.of_host(&id).removes(&id, &name, operation_id);
        self.check(checked);
        self.after(wait, Event::Removal(host, boot));
        self.agent_takes(host, Input::InventoryChanged);
        self.agent_takes(
            host,
            Input::Progress(Progress {
                operation_id,
                step: ProgressStep::Removing,
                decky_id: Some(name),
                done: Some(total - left),
                total: Some(total),
            }),
        );
    }
}
