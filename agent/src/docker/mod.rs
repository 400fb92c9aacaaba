//! Docker as a runtime, over the Engine's API.
//!
//! `deckies` says which containers are a decky's, `watch` keeps the inventory, `teardown` removes (`networks` its second
//! half, `report` what is said of it), `engine` speaks to the Engine, and `container` reads its listings. What is decided about commands, and what is
//! kept on disk, is the machine's and the ledger's.

mod container;
mod deckies;
mod engine;
mod networks;
mod report;
mod teardown;
mod watch;

use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use scuttle_schemas::HostId;
use tokio::sync::{Mutex, watch as channel};

use crate::runtime::{Inventory, ProgressSink, Runtime, RuntimeError, Teardown, TeardownReport};

pub use deckies::{Preset, Projects};

/// What an operator decides about a host's Docker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The Engine's socket.
    pub socket: PathBuf,
    /// What a decky is.
    pub preset: Preset,
    /// How long a container may take to stop before it is killed.
    pub grace: Duration,
    /// How many containers are stopped or removed at the same time.
    pub parallel: usize,
    /// Named volumes of what is removed go too, unless others use them.
    pub remove_volumes: bool,
    /// Images of what is removed go too, unless others use them.
    pub remove_images: bool,
}

/// The deckies of one host's Docker Engine. `watch` is to be polled beside the agent.
#[derive(Debug)]
pub struct DockerRuntime {
    /// Whose it is, for the log.
    host: HostId,
    settings: Settings,
    /// Counts what may have changed the inventory: one that was read before is not told any more.
    generation: AtomicU64,
    /// The inventory that was read last, and at which generation.
    read: Mutex<Option<(u64, Inventory)>>,
    changes: channel::Sender<u64>,
    /// Names that were logged because no decky may have them.
    unnamed: std::sync::Mutex<Vec<String>>,
}

impl DockerRuntime {
    /// A runtime over an Engine that need not be there yet.
    pub fn new(host: HostId, settings: Settings) -> Self {
        Self {
            host,
            settings,
            generation: AtomicU64::new(1),
            read: Mutex::new(None),
            changes: channel::Sender::new(0),
            unnamed: std::sync::Mutex::default(),
        }
    }
}

impl Runtime for DockerRuntime {
    async fn inventory(&self) -> Result<Inventory, RuntimeError> {
        let read = self.read_inventory().await;
        read.map_err(|error| RuntimeError(error.to_string()))
    }

    async fn teardown(&self, teardown: Teardown, progress: ProgressSink) -> TeardownReport {
        let report = teardown::run(&self.settings, teardown.decky_id, progress).await;
        // Before the result is numbered: no inventory from before may follow it.
        self.touch();
        report
    }

    fn changes(&self) -> channel::Receiver<u64> {
        self.changes.subscribe()
    }
}
