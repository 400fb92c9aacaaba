//! The register of known deckies. It remembers every decky of this host in a file until nothing of
//! the decky is left, so that a decky is still recognized when the container with its label is gone
//! or when only a network is left.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use scuttle_schemas::DeckyId;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::replace_file::replace_file;

const FILE: &str = "deckies.json";
const NEW_FILE: &str = "deckies.json.new";
/// The version of the file format.
const FORMAT: u32 = 1;
/// The number of hexadecimal digits of the hash that is a deployment.
const DEPLOYMENT_DIGITS: usize = 16;

/// A known decky.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KnownDecky {
    /// The Compose project, or the name of a `decnet` decky.
    pub(crate) name: String,
    /// Identifies the deployment. It changes only when a container appears that is not in
    /// `containers`. The removal of containers does not change it.
    pub(crate) deployment: String,
    /// The ids of the containers that belong to the deployment, including those that are gone.
    pub(crate) containers: BTreeSet<String>,
    /// Whether a container of the deployment had the label `scuttle.protected=true`.
    #[serde(default)]
    pub(crate) protected: bool,
}

/// A decky as a listing shows it.
#[derive(Debug)]
pub(crate) struct SeenDecky {
    pub(crate) name: String,
    pub(crate) containers: BTreeSet<String>,
    pub(crate) protected: bool,
}

/// The content of the file.
#[derive(Debug, Serialize, Deserialize)]
struct Content {
    format: u32,
    /// The rule that determined the deckies. An agent with another rule starts with an empty
    /// register.
    rule: String,
    deckies: BTreeMap<DeckyId, KnownDecky>,
}

/// The known deckies, and the file that contains them.
#[derive(Debug)]
pub(crate) struct Register {
    directory: PathBuf,
    content: Content,
    is_durable: bool,
    /// The start of the latest listing that was observed.
    observed_at: Option<Instant>,
}

impl Register {
    /// Reads the register of a data directory. An unreadable file is reported in the log and
    /// replaced by the next change, because the register can be rebuilt from the listing, except
    /// for deckies that have lost their labelled container.
    pub(crate) fn open(directory: &Path, rule: &str) -> Self {
        let path = directory.join(FILE);
        let empty = || Content {
            format: FORMAT,
            rule: rule.to_owned(),
            deckies: BTreeMap::new(),
        };
        let content = match fs::read(&path) {
            Ok(bytes) => match serde_json::from_slice::<Content>(&bytes) {
                Ok(content) if content.format == FORMAT && content.rule == rule => content,
                Ok(content) if content.format == FORMAT => empty(),
                Ok(Content { format, .. }) => {
                    tracing::warn!(
                        "ignored {}: it has format {format}, but this agent only knows format {FORMAT}",
                        path.display()
                    );
                    empty()
                }
                Err(cause) => {
                    tracing::warn!("ignored {}: {cause}", path.display());
                    empty()
                }
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => empty(),
            Err(error) => {
                tracing::warn!("cannot read {}: {error}", path.display());
                empty()
            }
        };
        Self {
            directory: directory.to_owned(),
            content,
            is_durable: true,
            observed_at: None,
        }
    }

    pub(crate) fn get(&self, decky: &DeckyId) -> Option<&KnownDecky> {
        self.content.deckies.get(decky)
    }

    /// Returns the name of the decky that a container belongs to.
    pub(crate) fn find_by_container(&self, id: &str) -> Option<&str> {
        let mut deckies = self.content.deckies.values();
        let decky = deckies.find(|decky| decky.containers.contains(id))?;
        Some(&decky.name)
    }

    /// Returns all known deckies.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&DeckyId, &KnownDecky)> {
        self.content.deckies.iter()
    }

    /// Updates the register from a listing that began at `listed_at`. Does nothing if a listing
    /// that began later was observed before. Forgets the deckies that are not in `seen`, unless the
    /// listing is incomplete.
    pub(crate) fn observe(
        &mut self,
        seen: BTreeMap<DeckyId, SeenDecky>,
        listed_at: Instant,
        is_complete: bool,
    ) {
        if self.observed_at.is_some_and(|last| listed_at < last) {
            return;
        }
        self.observed_at = Some(listed_at);
        let deckies = &mut self.content.deckies;
        if is_complete {
            let count = deckies.len();
            deckies.retain(|decky, _| seen.contains_key(decky));
            self.is_durable &= deckies.len() == count;
        }
        for (id, seen) in seen {
            let known = deckies.get_mut(&id).filter(|known| {
                known.name == seen.name && known.containers.is_superset(&seen.containers)
            });
            if let Some(known) = known {
                self.is_durable &= known.protected || !seen.protected;
                known.protected |= seen.protected;
            } else {
                self.is_durable = false;
                let known = KnownDecky {
                    name: seen.name,
                    deployment: identify_deployment(&seen.containers),
                    containers: seen.containers,
                    protected: seen.protected,
                };
                deckies.insert(id, known);
            }
        }
    }

    /// Returns the write that makes the register durable, or `None` if it already is. A removed
    /// file counts as not durable.
    pub(crate) fn pending_write(&self) -> Option<PendingWrite> {
        let is_empty = self.content.deckies.is_empty();
        let is_removed = || !is_empty && !self.directory.join(FILE).exists();
        (!self.is_durable || is_removed()).then(|| PendingWrite {
            directory: self.directory.clone(),
            bytes: serde_json::to_vec(&self.content).unwrap_or_default(),
        })
    }

    /// Notes that the last pending write has succeeded.
    pub(crate) fn mark_durable(&mut self) {
        self.is_durable = true;
    }
}

/// A new content of the file.
#[derive(Debug)]
pub(crate) struct PendingWrite {
    directory: PathBuf,
    bytes: Vec<u8>,
}

impl PendingWrite {
    /// Atomically replaces the file, and fsyncs it. Blocks.
    ///
    /// # Errors
    /// If the file cannot be written. The error names the file.
    pub(crate) fn write(&self) -> Result<(), String> {
        let path = self.directory.join(FILE);
        replace_file(&self.directory, FILE, NEW_FILE, &self.bytes).map_err(|error| {
            format!(
                "cannot write the register of deckies {}: {error}; check the disk and the permissions of the directory",
                path.display()
            )
        })
    }
}

/// Returns the deployment that consists of these containers.
fn identify_deployment(containers: &BTreeSet<String>) -> String {
    let mut hash = Sha256::new();
    for id in containers {
        hash.update(id);
        hash.update("\n");
    }
    let mut text = format!("{:x}", hash.finalize());
    text.truncate(DEPLOYMENT_DIGITS);
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Instant;

    use super::{Register, SeenDecky};

    fn observe(register: &mut Register, containers: &[&str]) {
        let seen = SeenDecky {
            name: "trap".to_owned(),
            containers: containers.iter().map(ToString::to_string).collect(),
            protected: false,
        };
        let decky = "trap".parse().expect("a decky");
        register.observe(BTreeMap::from([(decky, seen)]), Instant::now(), true);
    }

    fn deployment(register: &Register) -> String {
        let decky = "trap".parse().expect("a decky");
        register.get(&decky).expect("known").deployment.clone()
    }

    #[test]
    fn a_deployment_changes_only_when_a_container_appears() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut register = Register::open(directory.path(), "managed");
        observe(&mut register, &["a", "b"]);
        let first = deployment(&register);
        for remaining in [&["b"] as &[&str], &[], &["a", "b"]] {
            observe(&mut register, remaining);
            assert_eq!(deployment(&register), first, "{remaining:?}");
        }
        observe(&mut register, &["b", "c"]);
        let second = deployment(&register);
        assert_ne!(second, first);
        // The container of the first deployment is new again.
        observe(&mut register, &["a", "b"]);
        assert_eq!(deployment(&register), first);
    }

    #[test]
    fn a_register_survives_a_restart_and_forgets_what_is_gone() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut register = Register::open(directory.path(), "managed");
        assert!(register.pending_write().is_none());
        observe(&mut register, &["a", "b"]);
        let first = deployment(&register);
        register
            .pending_write()
            .expect("changed")
            .write()
            .expect("written");
        register.mark_durable();
        observe(&mut register, &["a"]);
        assert!(register.pending_write().is_none());

        let mut register = Register::open(directory.path(), "managed");
        observe(&mut register, &["b"]);
        assert_eq!(deployment(&register), first);
        assert_eq!(register.find_by_container("a"), Some("trap"));
        let decky = "trap".parse().expect("a decky");
        register.observe(BTreeMap::new(), Instant::now(), false);
        assert!(register.get(&decky).is_some(), "the listing was incomplete");
        let old = Instant::now();
        observe(&mut register, &["b"]);
        register.observe(BTreeMap::new(), old, true);
        assert!(register.get(&decky).is_some(), "the listing was older");
        register.observe(BTreeMap::new(), Instant::now(), true);
        assert!(register.get(&decky).is_none() && register.pending_write().is_some());

        let other = Register::open(directory.path(), "prefix");
        assert!(other.get(&decky).is_none());
    }

    #[test]
    fn a_register_that_cannot_be_read_or_written_is_reported() {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("deckies.json"), "{").expect("written");
        let mut register = Register::open(directory.path(), "managed");
        observe(&mut register, &["a"]);
        let write = register.pending_write().expect("changed");
        directory.close().expect("removed");
        let error = write.write().expect_err("no directory");
        assert!(error.contains("deckies.json"), "{error}");
    }
}
