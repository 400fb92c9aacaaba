//! The life of one simulated host: boots of its agent, crashes between them, and absences.

use std::future::{Future, pending};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use scuttle_agent::link::Faults;
use scuttle_agent::{
    AgentError, Counters, DiskLedger, Ledger, LedgerError, Link, MemoryLedger, Settings,
};
use scuttle_schemas::{HostId, Text};
use tokio::sync::watch;

use crate::chance::Chance;
use crate::runtime::SimRuntime;

/// How long a crashed agent is down, in milliseconds.
const DOWN_MS: std::ops::RangeInclusive<u64> = 200..=1_000;
/// How long before a host goes away, and for how long, in milliseconds.
const PRESENT_MS: std::ops::RangeInclusive<u64> = 4_000..=20_000;
const AWAY_MS: std::ops::RangeInclusive<u64> = 2_000..=8_000;
/// How often it is looked whether a decky is due to be deployed anew.
const DEPLOY: Duration = Duration::from_millis(100);
/// How long the ledger of a crashed agent may take to be let go: its last write is still on its way to the disk.
const LET_GO: Duration = Duration::from_secs(5);

/// What is ordered of a host.
#[derive(Debug, Clone)]
pub struct Orders {
    /// The seed.
    pub chance: Chance,
    /// Milliseconds between heartbeats.
    pub heartbeat_ms: u32,
    /// The share of hosts that go away now and then.
    pub offline_rate: f64,
    /// The share of messages that are sent twice.
    pub duplicate_rate: f64,
    /// How long the first boot waits, so that heartbeats are spread, in milliseconds.
    pub phase_ms: u64,
}

/// One host.
#[derive(Debug)]
pub struct SimHost {
    /// Its id.
    pub id: HostId,
    /// What its deckies run on.
    pub runtime: Arc<SimRuntime>,
    /// What its agent has done, over all boots.
    pub counters: Arc<Counters>,
    /// How often its agent crashed.
    pub crashes: AtomicU64,
    /// How many deckies were deployed anew.
    pub redeployed: AtomicU64,
    orders: Orders,
    storage: Storage,
    reachable: watch::Sender<bool>,
}

#[derive(Debug, Clone)]
enum Storage {
    Memory(MemoryLedger),
    Disk(PathBuf),
}

impl SimHost {
    /// A host whose ledger is in `directory`, or in memory.
    pub fn new(
        id: HostId,
        runtime: SimRuntime,
        orders: Orders,
        directory: Option<PathBuf>,
    ) -> Self {
        Self {
            id,
            runtime: Arc::new(runtime),
            counters: Arc::default(),
            crashes: AtomicU64::new(0),
            redeployed: AtomicU64::new(0),
            orders,
            storage: directory
                .map_or_else(|| Storage::Memory(MemoryLedger::default()), Storage::Disk),
            reachable: watch::Sender::new(true),
        }
    }

    /// Whether it is away now.
    pub fn is_away(&self) -> bool {
        !*self.reachable.borrow()
    }

    /// Lives until `stop` is true.
    ///
    /// # Errors
    /// Its agent ended by itself.
    pub async fn live(
        &self,
        link: &Link,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), AgentError> {
        let link = link.with_faults(self.faults());
        tokio::select! {
            boots = self.boots(link, stop.clone()) => boots,
            () = self.absences() => Ok(()),
            () = self.redeployments() => Ok(()),
            _ = stop.wait_for(|stop| *stop) => Ok(()),
        }
    }

    async fn boots(&self, link: Link, stop: watch::Receiver<bool>) -> Result<(), AgentError> {
        tokio::time::sleep(Duration::from_millis(self.orders.phase_ms)).await;
        for boot in 0.. {
            let mut stop = stop.clone();
            let settings = Settings {
                host: self.id.clone(),
                version: Text::from(concat!("sim-", env!("CARGO_PKG_VERSION"))),
                interval_ms: self.orders.heartbeat_ms,
                seed: self.draw("jitter", boot),
            };
            let ledger = self.open_ledger().await?;
            let shutdown = async move {
                let _ = stop.wait_for(|stop| *stop).await;
            };
            let (runtime, counters) = (self.runtime.clone(), self.counters.clone());
            // Dropped at a crash, with all that it was about to do.
            let agent = pin!(scuttle_agent::run(
                settings,
                link.clone(),
                runtime,
                ledger,
                counters,
                shutdown
            ));
            tokio::select! {
                ended = agent => return ended,
                () = self.runtime.crashed() => {}
            }
            self.crashes.fetch_add(1, Ordering::Relaxed);
            let down = self.within(&DOWN_MS, "down", boot);
            tokio::time::sleep(down).await;
        }
        Ok(())
    }

    async fn open_ledger(&self) -> Result<Box<dyn Ledger>, LedgerError> {
        let directory = match &self.storage {
            Storage::Memory(ledger) => return Ok(Box::new(ledger.clone())),
            Storage::Disk(directory) => directory,
        };
        let give_up = tokio::time::Instant::now() + LET_GO;
        loop {
            match DiskLedger::open(directory, &self.id) {
                Err(LedgerError::InUse { .. })
                    if self.crashes.load(Ordering::Relaxed) > 0
                        && tokio::time::Instant::now() < give_up =>
                {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                opened => return opened.map(|ledger| Box::new(ledger) as Box<dyn Ledger>),
            }
        }
    }

    /// Goes away and comes back, for ever, if this host is one that does.
    fn absences(&self) -> impl Future<Output = ()> {
        let goes =
            self.orders
                .chance
                .happens(self.orders.offline_rate, "offline", &[self.id.as_str()], 0);
        async move {
            if !goes {
                pending::<()>().await;
            }
            for count in 0.. {
                tokio::time::sleep(self.within(&PRESENT_MS, "present", count)).await;
                self.reachable.send_replace(false);
                tokio::time::sleep(self.within(&AWAY_MS, "away", count)).await;
                self.reachable.send_replace(true);
            }
        }
    }

    /// Deploys anew what was removed, whether or not the agent lives.
    async fn redeployments(&self) {
        if !self.runtime.redeploys() {
            pending::<()>().await;
        }
        let mut look = tokio::time::interval(DEPLOY);
        loop {
            look.tick().await;
            let deployed = self.runtime.redeploy();
            self.redeployed.fetch_add(deployed, Ordering::Relaxed);
        }
    }

    fn faults(&self) -> Faults {
        let Orders {
            chance,
            duplicate_rate,
            ..
        } = self.orders;
        let (id, sent) = (self.id.clone(), AtomicU64::new(0));
        Faults {
            reachable: self.reachable.subscribe(),
            copies: Arc::new(move || {
                let count = sent.fetch_add(1, Ordering::Relaxed);
                let twice = duplicate_rate > 0.0
                    && chance.happens(duplicate_rate, "twice", &[id.as_str()], count);
                1 + usize::from(twice)
            }),
        }
    }

    fn draw(&self, question: &str, count: u64) -> u64 {
        self.orders
            .chance
            .draw(question, &[self.id.as_str()], count)
    }

    fn within(
        &self,
        range: &std::ops::RangeInclusive<u64>,
        question: &str,
        count: u64,
    ) -> Duration {
        Duration::from_millis(self.orders.chance.within(
            range,
            question,
            &[self.id.as_str()],
            count,
        ))
    }
}
