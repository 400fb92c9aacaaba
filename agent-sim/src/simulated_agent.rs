//! The agent of one simulated host: its boots, the crashes between them, and its disconnections.

use std::future::{Future, pending};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use scuttle_agent::ledger::memory_ledger::MemoryLedger;
use scuttle_agent::nats::connection::InjectedFaults;
use scuttle_agent::run::AgentError;
use scuttle_agent::{AgentParts, Connection, Counters, DiskLedger, Ledger, LedgerError, Settings};
use scuttle_schemas::{HostId, Text};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::seeded_rng::SeededRng;
use crate::simulated_runtime::SimulatedRuntime;

/// The minimum and maximum downtime of a crashed agent, in milliseconds.
const DOWN_MS: RangeInclusive<u64> = 200..=1_000;
/// The minimum and maximum time that a host stays connected before a disconnection, in
/// milliseconds.
const ONLINE_MS: RangeInclusive<u64> = 4_000..=20_000;
/// The minimum and maximum duration of a disconnection, in milliseconds.
const OFFLINE_MS: RangeInclusive<u64> = 2_000..=8_000;
/// The interval between two checks for deckies that are due to be deployed again.
const REDEPLOY_POLL_INTERVAL: Duration = Duration::from_millis(100);
/// The maximum time to wait for a crashed agent's ledger to be unlocked. The crashed agent's last
/// write might still be in progress.
const UNLOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// The settings of one host's agent, and of the faults that are injected into it.
#[derive(Debug, Clone)]
pub struct AgentBehavior {
    pub rng: SeededRng,
    /// The heartbeat interval in milliseconds.
    pub heartbeat_ms: u32,
    /// The maximum number of teardowns that the agent runs at the same time.
    pub concurrency: u8,
    /// The share of hosts that disconnect from time to time, from 0 to 1.
    pub offline_rate: f64,
    /// The share of messages that are sent twice, from 0 to 1.
    pub duplicate_rate: f64,
    /// The delay before the first boot, in milliseconds. It spreads the hosts' heartbeats over
    /// time.
    pub start_delay_ms: u64,
}

/// The agent of a simulated host, across all its boots.
#[derive(Debug)]
pub struct SimulatedAgent {
    pub id: HostId,
    pub runtime: Arc<SimulatedRuntime>,
    /// The agent's counters, summed over all its boots.
    pub counters: Arc<Counters>,
    pub crashes: AtomicU64,
    /// The number of times that a removed decky was deployed again.
    pub redeployed: AtomicU64,
    behavior: AgentBehavior,
    storage: Storage,
    reachable: watch::Sender<bool>,
}

#[derive(Debug, Clone)]
enum Storage {
    Memory(MemoryLedger),
    Disk(PathBuf),
}

impl SimulatedAgent {
    /// Creates an agent whose ledger is in `directory`, or in memory if `directory` is `None`.
    pub fn new(
        id: HostId,
        runtime: SimulatedRuntime,
        behavior: AgentBehavior,
        directory: Option<PathBuf>,
    ) -> Self {
        Self {
            id,
            runtime: Arc::new(runtime),
            counters: Arc::default(),
            crashes: AtomicU64::new(0),
            redeployed: AtomicU64::new(0),
            behavior,
            storage: directory
                .map_or_else(|| Storage::Memory(MemoryLedger::default()), Storage::Disk),
            reachable: watch::Sender::new(true),
        }
    }

    pub fn is_offline(&self) -> bool {
        !*self.reachable.borrow()
    }

    /// Runs the agent until `shutdown` is cancelled, through all its crashes and disconnections.
    ///
    /// # Errors
    /// If the ledger cannot be opened, or the agent stops with an error.
    pub async fn run(
        &self,
        connection: &Connection,
        shutdown: CancellationToken,
    ) -> Result<(), AgentError> {
        let connection = connection.with_faults(self.build_faults());
        tokio::select! {
            ended = self.run_boots(connection, &shutdown) => ended,
            () = self.disconnect_repeatedly() => Ok(()),
            () = self.redeploy_repeatedly() => Ok(()),
            () = shutdown.cancelled() => Ok(()),
        }
    }

    async fn run_boots(
        &self,
        connection: Connection,
        shutdown: &CancellationToken,
    ) -> Result<(), AgentError> {
        tokio::time::sleep(Duration::from_millis(self.behavior.start_delay_ms)).await;
        for boot in 0.. {
            let settings = Settings {
                host: self.id.clone(),
                version: Text::from(concat!("sim-", env!("CARGO_PKG_VERSION"))),
                interval_ms: self.behavior.heartbeat_ms,
                seed: self.draw("jitter", boot),
                concurrency: self.behavior.concurrency.into(),
            };
            let parts = AgentParts {
                settings,
                connection: connection.clone(),
                runtime: self.runtime.clone(),
                ledger: self.open_ledger().await?,
                counters: self.counters.clone(),
            };
            // A crash drops the agent in the middle of whatever it is doing.
            let agent = pin!(scuttle_agent::run(parts, shutdown.clone()));
            tokio::select! {
                ended = agent => return ended,
                () = self.runtime.wait_for_crash() => {}
            }
            self.crashes.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(self.draw_in(&DOWN_MS, "down", boot)).await;
        }
        Ok(())
    }

    async fn open_ledger(&self) -> Result<Box<dyn Ledger>, LedgerError> {
        let directory = match &self.storage {
            Storage::Memory(ledger) => return Ok(Box::new(ledger.clone())),
            Storage::Disk(directory) => directory,
        };
        let deadline = tokio::time::Instant::now() + UNLOCK_TIMEOUT;
        loop {
            match DiskLedger::open(directory, &self.id) {
                Err(LedgerError::InUse { .. })
                    if self.crashes.load(Ordering::Relaxed) > 0
                        && tokio::time::Instant::now() < deadline =>
                {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                opened => return opened.map(|ledger| Box::new(ledger) as Box<dyn Ledger>),
            }
        }
    }

    /// Disconnects and reconnects the host repeatedly if `offline_rate` selects this host. The
    /// future never completes.
    fn disconnect_repeatedly(&self) -> impl Future<Output = ()> {
        let disconnects = self.behavior.rng.happens(
            self.behavior.offline_rate,
            "offline",
            &[self.id.as_str()],
            0,
        );
        async move {
            if !disconnects {
                pending::<()>().await;
            }
            for count in 0.. {
                tokio::time::sleep(self.draw_in(&ONLINE_MS, "present", count)).await;
                self.reachable.send_replace(false);
                tokio::time::sleep(self.draw_in(&OFFLINE_MS, "away", count)).await;
                self.reachable.send_replace(true);
            }
        }
    }

    /// Deploys removed deckies again when they are due, whether or not the agent is running. The
    /// future never completes.
    async fn redeploy_repeatedly(&self) {
        if !self.runtime.redeploys() {
            pending::<()>().await;
        }
        let mut poll = tokio::time::interval(REDEPLOY_POLL_INTERVAL);
        loop {
            poll.tick().await;
            let deployed = self.runtime.redeploy_due();
            self.redeployed.fetch_add(deployed, Ordering::Relaxed);
        }
    }

    fn build_faults(&self) -> InjectedFaults {
        let AgentBehavior {
            rng,
            duplicate_rate,
            ..
        } = self.behavior;
        let (id, sent) = (self.id.clone(), AtomicU64::new(0));
        InjectedFaults {
            reachable: self.reachable.subscribe(),
            copies: Arc::new(move || {
                let count = sent.fetch_add(1, Ordering::Relaxed);
                let twice = duplicate_rate > 0.0
                    && rng.happens(duplicate_rate, "twice", &[id.as_str()], count);
                1 + usize::from(twice)
            }),
        }
    }

    fn draw(&self, decision: &str, count: u64) -> u64 {
        self.behavior.rng.draw(decision, &[self.id.as_str()], count)
    }

    fn draw_in(&self, range: &RangeInclusive<u64>, decision: &str, count: u64) -> Duration {
        Duration::from_millis(self.behavior.rng.draw_in(
            range,
            decision,
            &[self.id.as_str()],
            count,
        ))
    }
}
