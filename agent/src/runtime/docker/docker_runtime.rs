//! The implementation of the `Runtime` trait for Docker, and its cached inventory. `watcher`
//! reports the changes that make parts of the cache stale.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex as BlockingMutex, MutexGuard, PoisonError};

use scuttle_schemas::HostId;
use tokio::sync::{Mutex, Semaphore, watch};

use super::engine::Engine;
use super::listing::Listed;
use super::notes::TeardownNotes;
use super::register::Register;
use super::settings::DockerSettings;
use super::shared_register::{ReadError, SharedRegister};
use super::stop_settings::StopSettingsCache;
use super::teardown;
use super::teardown::context::TeardownContext;
use crate::evidence::store::EvidenceStore;
use crate::runtime::{Inventory, ProgressSink, Runtime, RuntimeError, Teardown, TeardownReport};

/// The runtime for one host's Docker Engine. The future of `watch` must be polled alongside the
/// agent.
#[derive(Debug)]
pub struct DockerRuntime {
    /// The host, for the log.
    pub(super) host: HostId,
    pub(super) settings: DockerSettings,
    /// The store for evidence, or `None` if no evidence is kept.
    evidence: Option<Arc<EvidenceStore>>,
    /// The parts of the cache that may differ from the Engine.
    stale: BlockingMutex<StaleParts>,
    cache: Mutex<Cache>,
    register: SharedRegister,
    /// Limits the removals that run at the same time, over all teardowns.
    removals: Semaphore,
    notes: TeardownNotes,
    pub(super) stop_settings: StopSettingsCache,
    changes: watch::Sender<u64>,
}

/// The parts of the cache that may differ from the Engine.
#[derive(Debug, Default)]
struct StaleParts {
    everything: bool,
    /// The ids of the containers that may have changed.
    containers: BTreeSet<String>,
    networks: bool,
}

impl StaleParts {
    fn is_empty(&self) -> bool {
        !self.everything && !self.networks && self.containers.is_empty()
    }
}

/// The last listing and the inventory that was built from it.
#[derive(Debug, Default)]
struct Cache {
    listed: Option<Listed>,
    inventory: Option<Inventory>,
}

impl DockerRuntime {
    /// Creates a runtime, which keeps its register of known deckies in `data_dir`. The Engine does
    /// not need to be running yet.
    pub fn new(
        host: HostId,
        settings: DockerSettings,
        data_dir: &Path,
        evidence: Option<Arc<EvidenceStore>>,
    ) -> Self {
        let register = Register::open(data_dir, &settings.preset.to_rule());
        Self {
            host,
            evidence,
            stale: BlockingMutex::new(StaleParts {
                everything: true,
                ..StaleParts::default()
            }),
            cache: Mutex::default(),
            register: SharedRegister::new(register),
            removals: Semaphore::new(settings.parallel),
            notes: TeardownNotes::default(),
            stop_settings: StopSettingsCache::default(),
            changes: watch::Sender::new(0),
            settings,
        }
    }

    /// Returns the cached inventory, after the stale parts of the cache were read again.
    pub(super) async fn read_inventory(&self) -> Result<Inventory, ReadError> {
        let mut cache = self.cache.lock().await;
        let stale = std::mem::take(&mut *self.stale());
        let notes_changed = self.notes.take_changed();
        if let (Some(inventory), true, false) = (&cache.inventory, stale.is_empty(), notes_changed)
        {
            return Ok(inventory.clone());
        }
        let read = self.refresh(&mut cache, stale).await;
        if read.is_err() {
            self.stale().everything = true;
        }
        read
    }

    async fn refresh(&self, cache: &mut Cache, stale: StaleParts) -> Result<Inventory, ReadError> {
        let preset = &self.settings.preset;
        let engine = Engine::connect(&self.settings.socket).await?;
        let listed = match cache.listed.take() {
            Some(mut listed) if !stale.everything => {
                if !stale.containers.is_empty() {
                    let ids = &stale.containers;
                    listed.refresh_containers(&engine, preset, ids).await?;
                }
                if stale.networks {
                    listed.refresh_networks(&engine, preset).await?;
                }
                listed
            }
            _ => Listed::read(&engine, preset).await?,
        };
        self.stop_settings.set_containers(&listed.containers);
        let (deckies, shards) = self.register.report(preset, &listed).await?;
        let read = Inventory {
            shards: shards.into(),
            notes: self.notes.build(&deckies).into(),
        };
        let inventory = match &cache.inventory {
            Some(last) if *last == read => last.clone(),
            _ => read,
        };
        *cache = Cache {
            listed: Some(listed),
            inventory: Some(inventory.clone()),
        };
        Ok(inventory)
    }

    /// Marks the whole cache as stale.
    pub(super) fn invalidate(&self) {
        self.stale().everything = true;
    }

    /// Marks a container as stale.
    pub(super) fn invalidate_container(&self, id: &str) {
        self.stale().containers.insert(id.to_owned());
    }

    /// Marks the networks as stale.
    pub(super) fn invalidate_networks(&self) {
        self.stale().networks = true;
    }

    pub(super) fn notify_change(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    fn stale(&self) -> MutexGuard<'_, StaleParts> {
        self.stale.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Runtime for DockerRuntime {
    async fn inventory(&self) -> Result<Inventory, RuntimeError> {
        let inventory = self.read_inventory().await;
        inventory.map_err(|error| RuntimeError(error.to_string()))
    }

    async fn teardown(&self, teardown: Teardown, progress: ProgressSink) -> TeardownReport {
        let context = TeardownContext {
            settings: &self.settings,
            register: &self.register,
            removals: &self.removals,
            notes: &self.notes,
            stop_settings: &self.stop_settings,
            evidence: self.evidence.as_ref(),
        };
        let report = teardown::run(context, teardown, progress).await;
        // Must happen before the result gets its sequence number, so that no inventory from before
        // the teardown follows the result.
        self.invalidate();
        report
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}
