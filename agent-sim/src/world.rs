//! What exists on one simulated host, in memory or in a small file. What removes it is in `runtime`; what was done is
//! in `log`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::{fs, io};

use scuttle_agent::Inventory;
use scuttle_schemas::{DeckyId, HostId, OperationId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::chance::Chance;
use crate::log::{self, Deed};
use crate::looks::reported;

const FILE: &str = "world.json";

/// The deckies of one host, and what became of its teardowns so far.
#[derive(Debug)]
pub struct World {
    facts: Facts,
    inventory: Inventory,
    chance: Chance,
    host: HostId,
    /// Where it is kept; `None`: in memory.
    path: Option<PathBuf>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Facts {
    deckies: BTreeSet<DeckyId>,
    /// Those whose teardown has failed once since they were deployed: the next try succeeds.
    failed_once: BTreeSet<DeckyId>,
    /// How often each was deployed anew.
    #[serde(default)]
    redeployments: BTreeMap<DeckyId, u64>,
    /// When those that were removed are deployed anew.
    #[serde(default)]
    due: BTreeMap<DeckyId, Timestamp>,
    teardowns: u64,
    latest: Option<Operation>,
}

/// The latest teardown: what a restarted agent goes on with.
#[derive(Debug, Serialize, Deserialize)]
struct Operation {
    operation_id: OperationId,
    targets: Vec<DeckyId>,
}

/// Why a world's file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot {action} the simulated host's file {path}: {cause}; check the disk, or remove the data directory to begin anew"
)]
pub struct WorldError {
    action: &'static str,
    path: PathBuf,
    cause: io::Error,
}

/// A teardown that begins, or goes on after a crash.
#[derive(Debug, PartialEq, Eq)]
pub struct Begun {
    /// What is to be removed; some of it may be gone already.
    pub targets: Vec<DeckyId>,
    /// Counts the host's teardowns, from 1.
    pub count: u64,
    /// A crash had ended an earlier try.
    pub resumed: bool,
}

impl World {
    /// The world of a host as it was left in `directory`, or a new one with so many deckies.
    ///
    /// # Errors
    /// Its file cannot be read or written.
    pub fn open(
        directory: Option<&Path>,
        host: &HostId,
        chance: Chance,
        deckies: u32,
    ) -> Result<Self, WorldError> {
        let path = directory.map(|directory| directory.join(FILE));
        let kept = match &path {
            Some(path) => read(path)?,
            None => None,
        };
        let is_new = kept.is_none();
        let mut world = Self {
            facts: kept.unwrap_or_else(|| Facts {
                deckies: (1..=deckies)
                    .filter_map(|n| format!("decky-{n:02}").parse().ok())
                    .collect(),
                ..Facts::default()
            }),
            inventory: Inventory::default(),
            chance,
            host: host.clone(),
            path,
        };
        world.look();
        if is_new {
            let decky = |decky_id: &DeckyId| Deed::Deployed {
                decky_id: decky_id.clone(),
            };
            world.note(world.facts.deckies.iter().map(decky))?;
            world.save()?;
        }
        Ok(world)
    }

    /// The deckies that are there according to the data directory of a host, whose simulator may be running.
    ///
    /// # Errors
    /// Its file cannot be read.
    pub fn peek(directory: &Path) -> Result<BTreeSet<DeckyId>, WorldError> {
        let facts = read(&directory.join(FILE))?;
        Ok(facts.map(|facts| facts.deckies).unwrap_or_default())
    }

    /// All deckies.
    pub fn inventory(&self) -> Inventory {
        self.inventory.clone()
    }

    /// Whether it is there.
    pub fn has(&self, decky: &DeckyId) -> bool {
        self.facts.deckies.contains(decky)
    }

    /// Begins a teardown, or goes on with the one that a crash ended.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn begin(
        &mut self,
        operation_id: OperationId,
        decky: Option<&DeckyId>,
    ) -> Result<Begun, WorldError> {
        let facts = &mut self.facts;
        if let Some(latest) = facts
            .latest
            .as_ref()
            .filter(|latest| latest.operation_id == operation_id)
        {
            let begun = Begun {
                targets: latest.targets.clone(),
                count: facts.teardowns,
                resumed: true,
            };
            self.note([Deed::Began {
                operation_id,
                resumed: true,
            }])?;
            return Ok(begun);
        }
        let targets = match decky {
            Some(decky) => vec![decky.clone()],
            None => facts.deckies.iter().cloned().collect(),
        };
        facts.teardowns += 1;
        let count = facts.teardowns;
        facts.latest = Some(Operation {
            operation_id,
            targets: targets.clone(),
        });
        self.note([Deed::Began {
            operation_id,
            resumed: false,
        }])?;
        self.save()?;
        Ok(Begun {
            targets,
            count,
            resumed: false,
        })
    }

    /// True, once in each deployment, for a decky that is to fail at this rate.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn fails(
        &mut self,
        operation_id: OperationId,
        decky: &DeckyId,
        rate: f64,
    ) -> Result<bool, WorldError> {
        let about = [self.host.as_str(), decky.as_str()];
        let fails = self
            .chance
            .happens(rate, "fail", &about, self.redeployments(decky))
            && self.facts.failed_once.insert(decky.clone());
        if fails {
            self.note([Deed::Failed {
                operation_id,
                decky_id: decky.clone(),
            }])?;
            self.save()?;
        }
        Ok(fails)
    }

    /// Removes a decky, to be deployed anew after a time of `redeploy_ms`, if it is ever; false when it was not there.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn remove(
        &mut self,
        operation_id: OperationId,
        decky: &DeckyId,
        redeploy_ms: Option<&RangeInclusive<u64>>,
    ) -> Result<bool, WorldError> {
        let removed = self.facts.deckies.remove(decky);
        if removed {
            if let Some(range) = redeploy_ms {
                let about = [self.host.as_str(), decky.as_str()];
                let count = self.redeployments(decky);
                let wait = self.chance.within(range, "redeploy", &about, count);
                let due = log::now().plus_millis(i64::try_from(wait).unwrap_or(i64::MAX));
                self.facts.due.insert(decky.clone(), due);
            }
            self.look();
            self.note([Deed::Removed {
                operation_id,
                decky_id: decky.clone(),
            }])?;
            self.save()?;
        }
        Ok(removed)
    }

    /// Deploys anew what is due, and says how many that were.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn redeploy(&mut self) -> Result<u64, WorldError> {
        let now = log::now();
        let due: Vec<DeckyId> = self
            .facts
            .due
            .extract_if(.., |_, due| *due <= now)
            .map(|(decky, _)| decky)
            .collect();
        if due.is_empty() {
            return Ok(0);
        }
        for decky in &due {
            self.facts.deckies.insert(decky.clone());
            self.facts.failed_once.remove(decky);
            *self.facts.redeployments.entry(decky.clone()).or_default() += 1;
        }
        self.look();
        let count = due.len() as u64;
        self.note(due.into_iter().map(|decky_id| Deed::Deployed { decky_id }))?;
        self.save()?;
        Ok(count)
    }

    fn redeployments(&self, decky: &DeckyId) -> u64 {
        self.facts.redeployments.get(decky).copied().unwrap_or(0)
    }

    fn note(&self, deeds: impl IntoIterator<Item = Deed>) -> Result<(), WorldError> {
        let Some(directory) = self.path.as_deref().and_then(Path::parent) else {
            return Ok(());
        };
        let path = log::file(directory);
        log::append(&path, deeds).map_err(|cause| WorldError {
            action: "write",
            path,
            cause,
        })
    }

    fn look(&mut self) {
        let shard = |decky| reported(self.chance, &self.host, decky);
        self.inventory = self.facts.deckies.iter().map(shard).collect();
    }

    /// Survives the end of the process, which is all that a simulated host is asked; so nothing is synced.
    fn save(&self) -> Result<(), WorldError> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        let new = path.with_extension("json.new");
        serde_json::to_vec(&self.facts)
            .map_err(io::Error::from)
            .and_then(|text| fs::write(&new, text))
            .and_then(|()| fs::rename(&new, path))
            .map_err(|cause| WorldError {
                action: "write",
                path: path.clone(),
                cause,
            })
    }
}

fn read(path: &Path) -> Result<Option<Facts>, WorldError> {
    let error = |cause| WorldError {
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
            fs::create_dir_all(directory).map_err(|cause| WorldError {
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
    use super::World;
    use crate::chance::Chance;
    use crate::log::{self, Deed};

    #[test]
    fn a_world_on_disk_goes_on_where_it_was() {
        let directory = tempfile::tempdir().expect("a directory");
        let host = "sim-0001".parse().expect("valid");
        let open = || World::open(Some(directory.path()), &host, Chance(1), 3).expect("opened");
        let mut world = open();
        let first = world.inventory()[0].clone();
        let operation = scuttle_schemas::OperationId(uuid::Uuid::now_v7());
        let begun = world.begin(operation, None).expect("begun");
        assert_eq!((begun.targets.len(), begun.resumed), (3, false));
        assert!(world.fails(operation, &first.decky_id, 1.0).expect("asked"));
        let at_once = Some(&(0..=0));
        assert!(
            world
                .remove(operation, &first.decky_id, at_once)
                .expect("removed")
        );

        let mut world = open();
        assert_eq!(world.inventory().len(), 2);
        assert!(
            !world.fails(operation, &first.decky_id, 1.0).expect("asked"),
            "only the first try fails"
        );
        let resumed = world.begin(operation, None).expect("begun");
        assert_eq!(
            (resumed.targets, resumed.count, resumed.resumed),
            (begun.targets, 1, true)
        );
        assert_eq!(world.redeploy().expect("deployed"), 1);
        assert_eq!(world.redeploy().expect("asked"), 0, "once for each removal");
        assert!(
            world.fails(operation, &first.decky_id, 1.0).expect("asked"),
            "the first try after it was deployed anew fails as well"
        );
        let lines = log::read(&log::file(directory.path())).expect("read");
        let of_the_first = |line: &&log::Line| match &line.deed {
            Deed::Deployed { decky_id } | Deed::Removed { decky_id, .. } => {
                *decky_id == first.decky_id
            }
            _ => false,
        };
        assert_eq!(lines.iter().filter(of_the_first).count(), 3, "{lines:?}");
        assert_eq!(World::peek(directory.path()).expect("read").len(), 3);
        std::fs::write(directory.path().join("world.json"), "{").expect("written");
        let error = World::open(Some(directory.path()), &host, Chance(1), 3).expect_err("damaged");
        assert!(error.to_string().contains("world.json"), "{error}");
    }
}
