//! The deckies that exist on a simulated host, in memory or in a small file. The code that tears
//! them down is in `simulated_runtime`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder};
use std::io;
use std::ops::RangeInclusive;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use scuttle_agent::runtime::Inventory;
use scuttle_schemas::{DeckyId, HostId, OperationId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::action_log::{self, Action};
use crate::fake_inventory::build_shard;
use crate::seeded_rng::SeededRng;

const FILE: &str = "world.json";

/// The deckies of a host, and the state of its teardowns.
#[derive(Debug)]
pub struct SimulatedHost {
    state: State,
    inventory: Inventory,
    rng: SeededRng,
    host: HostId,
    /// The file with the state of the host. `None` if the state is kept only in memory.
    path: Option<PathBuf>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    deckies: BTreeSet<DeckyId>,
    /// The deckies whose teardown has failed once since their deployment. Their next teardown
    /// succeeds.
    failed_once: BTreeSet<DeckyId>,
    /// The number of times that each decky has been redeployed.
    #[serde(default)]
    redeployments: BTreeMap<DeckyId, u64>,
    /// The removed deckies to deploy again, each with the time at which it is due.
    #[serde(default)]
    due: BTreeMap<DeckyId, Timestamp>,
    teardowns: u64,
    /// The teardowns that have not ended, and the one in `latest_ended`. A restarted agent resumes
    /// them.
    #[serde(default)]
    unfinished: BTreeMap<OperationId, UnfinishedTeardown>,
    /// The operation whose teardown ended last. A crash can prevent the agent from learning of this
    /// end, but not of an earlier one.
    #[serde(default)]
    latest_ended: Option<OperationId>,
}

/// The targets of a teardown, and its number among all teardowns on the host.
#[derive(Debug, Serialize, Deserialize)]
struct UnfinishedTeardown {
    targets: Vec<DeckyId>,
    count: u64,
}

/// Why a file of a simulated host cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot {action} the simulated host's file {path}: {cause}; check the disk, or remove the data directory to start over"
)]
pub struct SimulatedHostError {
    action: &'static str,
    path: PathBuf,
    cause: io::Error,
}

/// A teardown that starts, or resumes after a crash.
#[derive(Debug, PartialEq, Eq)]
pub struct StartedTeardown {
    /// The deckies to remove. Some of them may already be gone.
    pub targets: Vec<DeckyId>,
    /// The number of this teardown among all teardowns on the host, counted from 1.
    pub count: u64,
    /// Whether this continues a teardown that a crash interrupted.
    pub resumed: bool,
}

impl SimulatedHost {
    /// Loads the host from `directory`, or creates a host with `deckies` deckies if the directory
    /// contains no host. Without a directory, the host exists only in memory.
    ///
    /// # Errors
    /// If a file of the host cannot be read or written.
    pub fn open(
        directory: Option<&Path>,
        host: &HostId,
        rng: SeededRng,
        deckies: u32,
    ) -> Result<Self, SimulatedHostError> {
        let path = directory.map(|directory| directory.join(FILE));
        let stored = match &path {
            Some(path) => read_state(path)?,
            None => None,
        };
        let is_new = stored.is_none();
        let mut simulated = Self {
            state: stored.unwrap_or_else(|| State {
                deckies: (1..=deckies)
                    .filter_map(|n| format!("decky-{n:02}").parse().ok())
                    .collect(),
                ..State::default()
            }),
            inventory: Inventory::default(),
            rng,
            host: host.clone(),
            path,
        };
        simulated.update_inventory();
        if is_new {
            let deployed = |decky_id: &DeckyId| Action::Deployed {
                decky_id: decky_id.clone(),
            };
            simulated.log(simulated.state.deckies.iter().map(deployed))?;
            simulated.save()?;
        }
        Ok(simulated)
    }

    /// Reads the current deckies of a host from its data directory, even while the simulator is
    /// running. Returns an empty set if the directory contains no host. Creates a missing
    /// directory.
    ///
    /// # Errors
    /// If the file cannot be read, or the directory cannot be created.
    pub fn read_deckies(directory: &Path) -> Result<BTreeSet<DeckyId>, SimulatedHostError> {
        let state = read_state(&directory.join(FILE))?;
        Ok(state.map(|state| state.deckies).unwrap_or_default())
    }

    pub fn inventory(&self) -> Inventory {
        self.inventory.clone()
    }

    pub fn has_decky(&self, decky: &DeckyId) -> bool {
        self.state.deckies.contains(decky)
    }

    /// Starts a teardown of `decky`, or of all deckies if `decky` is `None`. If an unfinished
    /// teardown has the same operation id, a crash interrupted it, and it is resumed.
    ///
    /// # Errors
    /// If a file of the host cannot be written.
    pub fn start_teardown(
        &mut self,
        operation_id: OperationId,
        decky: Option<&DeckyId>,
    ) -> Result<StartedTeardown, SimulatedHostError> {
        let state = &mut self.state;
        if let Some(unfinished) = state.unfinished.get(&operation_id) {
            let started = StartedTeardown {
                targets: unfinished.targets.clone(),
                count: unfinished.count,
                resumed: true,
            };
            state.latest_ended.take_if(|ended| *ended == operation_id);
            self.log([Action::Started {
                operation_id,
                resumed: true,
            }])?;
            return Ok(started);
        }
        let targets = match decky {
            Some(decky) => vec![decky.clone()],
            None => state.deckies.iter().cloned().collect(),
        };
        state.teardowns += 1;
        let count = state.teardowns;
        let unfinished = UnfinishedTeardown {
            targets: targets.clone(),
            count,
        };
        state.unfinished.insert(operation_id, unfinished);
        self.log([Action::Started {
            operation_id,
            resumed: false,
        }])?;
        self.save()?;
        Ok(StartedTeardown {
            targets,
            count,
            resumed: false,
        })
    }

    /// Notes that a teardown has ended.
    ///
    /// # Errors
    /// If the host's file cannot be written.
    pub fn end_teardown(&mut self, operation_id: OperationId) -> Result<(), SimulatedHostError> {
        let state = &mut self.state;
        if let Some(earlier) = state.latest_ended.replace(operation_id)
            && earlier != operation_id
        {
            state.unfinished.remove(&earlier);
        }
        self.save()
    }

    /// Decides at random whether the removal of a decky fails, which happens at most once per
    /// deployment.
    ///
    /// # Errors
    /// If a file of the host cannot be written.
    pub fn draw_failure(
        &mut self,
        operation_id: OperationId,
        decky: &DeckyId,
        rate: f64,
    ) -> Result<bool, SimulatedHostError> {
        let about = [self.host.as_str(), decky.as_str()];
        let fails = self
            .rng
            .happens(rate, "fail", &about, self.redeployments(decky))
            && self.state.failed_once.insert(decky.clone());
        if fails {
            self.log([Action::Failed {
                operation_id,
                decky_id: decky.clone(),
            }])?;
            self.save()?;
        }
        Ok(fails)
    }

    /// Removes a decky, and returns whether the decky existed. If it existed and `redeploy_ms` is
    /// given, schedules a new deployment after a random delay in this range of milliseconds.
    ///
    /// # Errors
    /// If a file of the host cannot be written.
    pub fn remove(
        &mut self,
        operation_id: OperationId,
        decky: &DeckyId,
        redeploy_ms: Option<&RangeInclusive<u64>>,
    ) -> Result<bool, SimulatedHostError> {
        let removed = self.state.deckies.remove(decky);
        if removed {
            if let Some(range) = redeploy_ms {
                let about = [self.host.as_str(), decky.as_str()];
                let count = self.redeployments(decky);
                let delay = self.rng.draw_in(range, "redeploy", &about, count);
                let due = action_log::current_time()
                    .plus_millis(i64::try_from(delay).unwrap_or(i64::MAX));
                self.state.due.insert(decky.clone(), due);
            }
            self.update_inventory();
            self.log([Action::Removed {
                operation_id,
                decky_id: decky.clone(),
            }])?;
            self.save()?;
        }
        Ok(removed)
    }

    /// Deploys the removed deckies that are due, and returns their number.
    ///
    /// # Errors
    /// If a file of the host cannot be written.
    pub fn redeploy_due(&mut self) -> Result<u64, SimulatedHostError> {
        let now = action_log::current_time();
        let due: Vec<DeckyId> = self
            .state
            .due
            .extract_if(.., |_, due| *due <= now)
            .map(|(decky, _)| decky)
            .collect();
        if due.is_empty() {
            return Ok(0);
        }
        for decky in &due {
            self.state.deckies.insert(decky.clone());
            self.state.failed_once.remove(decky);
            *self.state.redeployments.entry(decky.clone()).or_default() += 1;
        }
        self.update_inventory();
        let count = due.len() as u64;
        self.log(
            due.into_iter()
                .map(|decky_id| Action::Deployed { decky_id }),
        )?;
        self.save()?;
        Ok(count)
    }

    fn redeployments(&self, decky: &DeckyId) -> u64 {
        self.state.redeployments.get(decky).copied().unwrap_or(0)
    }

    fn log(&self, actions: impl IntoIterator<Item = Action>) -> Result<(), SimulatedHostError> {
        let Some(directory) = self.path.as_deref().and_then(Path::parent) else {
            return Ok(());
        };
        let path = action_log::log_path(directory);
        action_log::append(&path, actions).map_err(|cause| SimulatedHostError {
            action: "write",
            path,
            cause,
        })
    }

    fn update_inventory(&mut self) {
        let shard = |decky| build_shard(self.rng, &self.host, decky);
        self.inventory = self.state.deckies.iter().map(shard).collect();
    }

    /// Saves the state, unless it is kept only in memory. The file is not synced, so it survives a
    /// killed process, but not necessarily a power cut.
    fn save(&self) -> Result<(), SimulatedHostError> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        let new = path.with_extension("json.new");
        serde_json::to_vec(&self.state)
            .map_err(io::Error::from)
            .and_then(|text| fs::write(&new, text))
            .and_then(|()| fs::rename(&new, path))
            .map_err(|cause| SimulatedHostError {
                action: "write",
                path: path.clone(),
                cause,
            })
    }
}

fn read_state(path: &Path) -> Result<Option<State>, SimulatedHostError> {
    let error = |cause| SimulatedHostError {
        action: "read",
        path: path.to_owned(),
        cause,
    };
    match fs::read(path) {
        Ok(text) => serde_json::from_slice(&text)
            .map(Some)
            .map_err(|cause| error(cause.into())),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
            let directory = path.parent().unwrap_or(path);
            let created = DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory);
            created.map_err(|cause| SimulatedHostError {
                action: "create the directory of",
                path: path.to_owned(),
                cause,
            })?;
            Ok(None)
        }
        Err(cause) => Err(error(cause)),
    }
}

#[cfg(test)]
mod tests {
    use super::SimulatedHost;
    use crate::action_log::{self, Action, ActionLine};
    use crate::seeded_rng::SeededRng;

    #[test]
    fn a_simulated_host_on_disk_continues_where_it_stopped() {
        let directory = tempfile::tempdir().expect("a directory");
        let host = "sim-0001".parse().expect("valid");
        let open =
            || SimulatedHost::open(Some(directory.path()), &host, SeededRng(1), 3).expect("opened");
        let mut simulated = open();
        let first = simulated.inventory().shards[0].clone();
        let operation = scuttle_schemas::OperationId(uuid::Uuid::now_v7());
        let started = simulated.start_teardown(operation, None).expect("started");
        assert_eq!((started.targets.len(), started.resumed), (3, false));
        assert!(
            simulated
                .draw_failure(operation, &first.decky_id, 1.0)
                .expect("saved")
        );
        let immediately = Some(&(0..=0));
        assert!(
            simulated
                .remove(operation, &first.decky_id, immediately)
                .expect("removed")
        );

        let mut simulated = open();
        assert_eq!(simulated.inventory().shards.len(), 2);
        assert!(
            !simulated
                .draw_failure(operation, &first.decky_id, 1.0)
                .expect("saved"),
            "only the first attempt fails"
        );
        let resumed = simulated.start_teardown(operation, None).expect("started");
        assert_eq!(
            (resumed.targets, resumed.count, resumed.resumed),
            (started.targets, 1, true)
        );
        assert_eq!(simulated.redeploy_due().expect("deployed"), 1);
        assert_eq!(
            simulated.redeploy_due().expect("asked"),
            0,
            "a removed decky is deployed again once"
        );
        assert!(
            simulated
                .draw_failure(operation, &first.decky_id, 1.0)
                .expect("saved"),
            "the first attempt after a new deployment fails as well"
        );
        let lines = action_log::read_lines(&action_log::log_path(directory.path())).expect("read");
        let concerns_first = |line: &&ActionLine| match &line.action {
            Action::Deployed { decky_id } | Action::Removed { decky_id, .. } => {
                *decky_id == first.decky_id
            }
            _ => false,
        };
        assert_eq!(lines.iter().filter(concerns_first).count(), 3, "{lines:?}");
        assert_eq!(
            SimulatedHost::read_deckies(directory.path())
                .expect("read")
                .len(),
            3
        );
        std::fs::write(directory.path().join("world.json"), "{").expect("written");
        let error = SimulatedHost::open(Some(directory.path()), &host, SeededRng(1), 3)
            .expect_err("damaged");
        assert!(error.to_string().contains("world.json"), "{error}");
    }

    #[test]
    fn every_teardown_that_a_crash_interrupted_is_resumed() {
        let directory = tempfile::tempdir().expect("a directory");
        let host = "sim-0001".parse().expect("valid");
        let open =
            || SimulatedHost::open(Some(directory.path()), &host, SeededRng(1), 3).expect("opened");
        let deckies: Vec<_> = (open().inventory().shards.iter())
            .map(|shard| shard.decky_id.clone())
            .collect();
        let operations: Vec<_> = (1..=3)
            .map(|number| scuttle_schemas::OperationId(uuid::Uuid::from_u128(number)))
            .collect();
        let start = |simulated: &mut SimulatedHost, index: usize| {
            let started = simulated.start_teardown(operations[index], Some(&deckies[index]));
            let started = started.expect("started");
            assert_eq!(started.targets, [deckies[index].clone()]);
            (started.count, started.resumed)
        };
        let mut simulated = open();
        for index in 0..3 {
            assert_eq!(start(&mut simulated, index), (index as u64 + 1, false));
        }
        for operation in &operations[..2] {
            simulated.end_teardown(*operation).expect("saved");
        }
        // The agent has seen the end of the first teardown, but perhaps not that of the second one.
        let mut simulated = open();
        assert_eq!(start(&mut simulated, 2), (3, true));
        assert_eq!(start(&mut simulated, 1), (2, true));
        assert_eq!(start(&mut simulated, 0), (4, false));
    }
}
