//! The deckies that really run on a host. Each deployment of a name is a new generation. Removals
//! are recorded by generation, so that a new deployment is never mistaken for an old one.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use scuttle_agent::runtime::{self, TeardownReport};
use scuttle_schemas::agents::{
    Evidence, ReportedOutcome, ReportedShard, ReportedState, ShardResult,
};
use scuttle_schemas::{DeckyId, Deployment, Labels, OperationId, Services, Text};

use crate::seed::plan::SeedPlan;
use crate::seed::seeded_rng::SeededRng;

/// The error of a decky whose evidence could not be saved. The decky stays on its host, stopped.
pub(crate) const EVIDENCE_ERROR: &str = "cannot save the evidence";

pub(crate) type ByDecky<T> = BTreeMap<DeckyId, T>;

/// For each decky, the latest generation that was already gone when the host was observed, or 0 if
/// none was.
pub(crate) type RemovedGenerations = ByDecky<u64>;

/// An agent's observation at one moment: the content of its report, and the true state with which
/// the oracle compares the report.
#[derive(Debug)]
pub(crate) struct Observation {
    pub(crate) inventory: Arc<[ReportedShard]>,
    pub(crate) removed: RemovedGenerations,
    pub(crate) report: Option<(OperationId, TeardownReport)>,
}

/// The deckies of one host: all names, how often each was deployed, and those that are running now.
#[derive(Debug)]
pub(crate) struct Deckies {
    pub(crate) names: Vec<DeckyId>,
    /// The number of deployments of each name.
    pub(crate) generations: ByDecky<u64>,
    pub(crate) running: ByDecky<ReportedState>,
    /// Whether the agent reports deployments, which agents of earlier versions do not.
    reports_deployments: bool,
    saves_evidence: bool,
}

/// Returns the deployment that an agent reports for a generation of a decky.
fn deployment_of_generation(generation: u64) -> Option<Deployment> {
    format!("g{generation}").parse().ok()
}

/// Returns the generation of a decky that a deployment identifies.
pub(crate) fn generation_of(deployment: &Deployment) -> Option<u64> {
    deployment.as_str().strip_prefix('g')?.parse().ok()
}

/// A teardown that is in progress.
#[derive(Debug)]
pub(crate) struct RunningTeardown {
    pub(crate) operation_id: OperationId,
    pub(crate) only: Option<DeckyId>,
    pub(crate) targets: Vec<DeckyId>,
    pub(crate) remaining: VecDeque<DeckyId>,
    pub(crate) failed: BTreeMap<DeckyId, Text>,
}

impl RunningTeardown {
    pub(crate) fn new(teardown: runtime::Teardown, targets: Vec<DeckyId>) -> Self {
        Self {
            operation_id: teardown.operation_id,
            only: teardown.decky_id,
            remaining: targets.iter().cloned().collect(),
            targets,
            failed: BTreeMap::new(),
        }
    }
}

impl Deckies {
    pub(crate) fn new(plan: &SeedPlan, rng: &mut SeededRng) -> Self {
        let names = (0..plan.decky_names).map(|number| format!("d{number}"));
        let mut deckies = Self {
            names: names
                .map(|name| name.parse().expect("a valid name"))
                .collect(),
            generations: BTreeMap::new(),
            running: BTreeMap::new(),
            reports_deployments: plan.reports_deployments,
            saves_evidence: plan.saves_evidence,
        };
        for name in deckies.names.clone() {
            if rng.roll_per_mille(700) {
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

    pub(crate) fn deploy(&mut self, name: &DeckyId) -> bool {
        if self.running.contains_key(name) {
            return false;
        }
        *self.generations.entry(name.clone()).or_default() += 1;
        self.running.insert(name.clone(), ReportedState::Running);
        true
    }

    /// Replaces a decky that is running by a new deployment of the same name, as
    /// `docker compose up --force-recreate` does.
    pub(crate) fn recreate(&mut self, name: &DeckyId) -> bool {
        self.running.remove(name).is_some() && self.deploy(name)
    }

    /// Returns the deployment that the agent reports for a decky that is running.
    pub(crate) fn deployment(&self, name: &DeckyId) -> Option<Deployment> {
        let generation = *self.generations.get(name)?;
        deployment_of_generation(generation).filter(|_| self.reports_deployments)
    }

    fn removed_generations(&self) -> RemovedGenerations {
        let removed = |(name, generation): (&DeckyId, &u64)| {
            let exists = self.running.contains_key(name);
            (name.clone(), generation - u64::from(exists))
        };
        self.generations.iter().map(removed).collect()
    }

    pub(crate) fn observe(&self, report: Option<(OperationId, TeardownReport)>) -> Observation {
        let shard = |(name, state): (&DeckyId, &ReportedState)| ReportedShard {
            decky_id: name.clone(),
            state: *state,
            services: Services::default(),
            // Tells the deployments of one name apart.
            decky_ip: Some(format!("10.0.0.{}", self.generations[name])),
            labels: Labels::default(),
            deployment: self.deployment(name),
            reason: None,
        };
        Observation {
            inventory: self.running.iter().map(shard).collect::<Vec<_>>().into(),
            removed: self.removed_generations(),
            report,
        }
    }

    pub(crate) fn find_targets(&self, teardown: &runtime::Teardown) -> Vec<DeckyId> {
        let only = teardown.decky_id.as_ref();
        let targets = self.running.keys();
        targets
            .filter(|name| only.is_none_or(|only| only == *name))
            .cloned()
            .collect()
    }

    /// Checks again which deckies run, and reports the outcome for each target.
    pub(crate) fn report(&self, teardown: &RunningTeardown) -> TeardownReport {
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
                    Some(Text::from("it is running again")),
                ),
                None if teardown.targets.contains(&decky_id) => (ReportedOutcome::Removed, None),
                None => (ReportedOutcome::Absent, None),
            };
            let is_saved = self.saves_evidence
                && teardown.targets.contains(&decky_id)
                && error
                    .as_ref()
                    .is_none_or(|error| error.as_str() != EVIDENCE_ERROR);
            let evidence = is_saved.then(|| Evidence {
                path: format!("/evidence/{}/{decky_id}", teardown.operation_id),
                bytes: self.generations[&decky_id],
                sha256: "0f".repeat(32),
            });
            ShardResult {
                decky_id,
                outcome,
                error,
                evidence,
            }
        });
        TeardownReport {
            error: None,
            shards: shards.collect(),
        }
    }
}
