//! The implementation of the `Runtime` trait for Docker, and its cached inventory. `watcher` keeps
//! the cache current.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex as BlockingMutex, PoisonError};

use scuttle_schemas::HostId;
use tokio::sync::{Mutex, watch};

use super::engine::{Engine, EngineError};
use super::listing::list_deckies;
use super::settings::DockerSettings;
use super::teardown;
use crate::runtime::{Inventory, ProgressSink, Runtime, RuntimeError, Teardown, TeardownReport};

/// The runtime for one host's Docker Engine. The future of `watch` must be polled alongside the
/// agent.
#[derive(Debug)]
pub struct DockerRuntime {
    /// The host that log lines name.
    pub(super) host: HostId,
    pub(super) settings: DockerSettings,
    /// The current generation, which rises with every event that may have changed the inventory. A
    /// cached inventory is valid only for the generation in which it was read.
    generation: AtomicU64,
    /// The last inventory, and the generation in which it was read.
    cached: Mutex<Option<(u64, Inventory)>>,
    changes: watch::Sender<u64>,
    /// The invalid decky names in the last listing, all of which have been logged.
    logged_names: BlockingMutex<Vec<String>>,
}

impl DockerRuntime {
    /// Creates a runtime. The Engine does not need to be running yet.
    pub fn new(host: HostId, settings: DockerSettings) -> Self {
        Self {
            host,
            settings,
            generation: AtomicU64::new(1),
            cached: Mutex::new(None),
            changes: watch::Sender::new(0),
            logged_names: BlockingMutex::default(),
        }
    }

    /// Returns the cached inventory if no event has invalidated it. Otherwise, reads the inventory
    /// again.
    pub(super) async fn read_inventory(&self) -> Result<Inventory, EngineError> {
        let mut cached = self.cached.lock().await;
        let generation = self.generation.load(Ordering::SeqCst);
        if let Some((read_in, inventory)) = &*cached
            && *read_in == generation
        {
            return Ok(inventory.clone());
        }
        let engine = Engine::connect(&self.settings.socket).await?;
        let deckies = list_deckies(&engine, &self.settings.preset).await?;
        self.log_invalid_names(&deckies.invalid_names);
        let shards = deckies.to_reported_shards();
        let inventory = match &*cached {
            Some((_, last)) if **last == *shards => last.clone(),
            _ => shards.into(),
        };
        *cached = Some((generation, inventory.clone()));
        Ok(inventory)
    }

    /// Invalidates the cached inventory.
    pub(super) fn invalidate(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn notify_change(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Logs the names that are not valid for a decky. Each name is logged once while it exists.
    fn log_invalid_names(&self, names: &[String]) {
        let lock = self.logged_names.lock();
        let mut logged = lock.unwrap_or_else(PoisonError::into_inner);
        for name in names.iter().filter(|name| !logged.contains(name)) {
            tracing::warn!(host_uuid = %self.host, %name, "left out of the inventory: not a valid decky name");
        }
        logged.clear();
        logged.extend_from_slice(names);
    }
}

impl Runtime for DockerRuntime {
    async fn inventory(&self) -> Result<Inventory, RuntimeError> {
        let inventory = self.read_inventory().await;
        inventory.map_err(|error| RuntimeError(error.to_string()))
    }

    async fn teardown(&self, teardown: Teardown, progress: ProgressSink) -> TeardownReport {
        let report = teardown::run(&self.settings, teardown.decky_id, progress).await;
        // Must happen before the result gets its sequence number, so that no inventory from before
        // the teardown follows the result.
        self.invalidate();
        report
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}
