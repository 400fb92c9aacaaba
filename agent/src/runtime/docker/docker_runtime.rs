//! The implementation of the `Runtime` trait for Docker, and its cached inventory. `watcher`
//! reports the changes that make parts of the cache stale.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex as BlockingMutex, MutexGuard, PoisonError};

use scuttle_schemas::{HostId, OperationId, Timestamp};
use tokio::sync::{Mutex, Semaphore, watch};

use super::deckies::listing::Listed;
use super::deckies::register::Register;
use super::deckies::shared_register::{ReadError, SharedRegister};
use super::engine::client::Engine;
use super::engine::stop_settings::StopSettingsCache;
use super::notes::TeardownNotes;
use super::settings::DockerSettings;
use super::teardown;
use super::teardown::context::TeardownContext;
use crate::clock::wall_clock;
use crate::evidence::store::{EvidenceStore, OpenOperation};
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
    /// The operations whose results are not recorded, by id.
    unrecorded: BlockingMutex<BTreeMap<OperationId, Unrecorded>>,
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

/// An operation whose result the controller has not recorded. Its evidence must not be dropped.
#[derive(Debug)]
struct Unrecorded {
    not_after: Timestamp,
    _open: OpenOperation,
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
            unrecorded: BlockingMutex::default(),
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
        // A read that was dropped has left no listing, and its stale parts are no longer known.
        let is_stale = cache.listed.is_none() || !stale.is_empty() || notes_changed;
        if let (Some(inventory), false) = (&cache.inventory, is_stale) {
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

    /// Keeps the evidence of an operation until its result is recorded, or its deadline has passed.
    fn keep_evidence(&self, operation: OperationId, not_after: Timestamp) {
        let Some(store) = &self.evidence else {
            return;
        };
        let open = Unrecorded {
            not_after,
            _open: store.begin(operation),
        };
        let now = wall_clock();
        let mut unrecorded = self.unrecorded();
        unrecorded.retain(|_, open| open.not_after >= now);
        unrecorded.insert(operation, open);
    }

    fn unrecorded(&self) -> MutexGuard<'_, BTreeMap<OperationId, Unrecorded>> {
        let lock = self.unrecorded.lock();
        lock.unwrap_or_else(PoisonError::into_inner)
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
        self.keep_evidence(teardown.operation_id, teardown.not_after);
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

    fn restore_unrecorded(&self, operation_id: OperationId, not_after: Timestamp) {
        self.keep_evidence(operation_id, not_after);
    }

    fn end_operation(&self, operation_id: OperationId) {
        self.unrecorded().remove(&operation_id);
    }
}
