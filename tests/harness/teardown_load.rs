//! A load of teardowns on simulated hosts, and measurements of the service that operators and
//! agents get under the load.
//!
//! Several operators request teardowns at the same time. The times from each request to its
//! acceptance and to the end of its operation are measured. A test or a benchmark can add faults,
//! such as a [`flood`](crate::faults::flood).

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures_util::StreamExt;
use futures_util::future::try_join_all;
use scuttle_schemas::HostId;
use scuttle_schemas::hosts::{HostStatus, HostsUpdated};
use scuttle_schemas::subjects;

use crate::clients::client::Client;
use crate::cluster::Cluster;
use crate::programs::process::Process;
use crate::programs::simulator::Simulator;
use crate::roles::Role;
use crate::wait::lock;

/// The number of simulated hosts.
pub const HOSTS: usize = 50;
/// The number of deckies of each host, which is more than the load tears down.
const DECKIES: usize = 100;
/// The number of operators. Each operator requests its next teardown when its previous teardown has
/// ended.
const OPERATORS: usize = 8;

/// Simulated hosts with deckies, and operators that tear down the deckies.
#[derive(Debug)]
pub struct TeardownLoad {
    operators: Vec<Client>,
    hosts: Vec<HostId>,
    simulator: Simulator,
    /// The number of the next decky to tear down, counted across all hosts.
    next: AtomicUsize,
}

/// The result of a measurement.
#[derive(Debug, Default)]
pub struct LoadResult {
    /// The times from a request to its acceptance, sorted.
    pub accept_times: Vec<Duration>,
    /// The times from a request to the end of its operation, sorted.
    pub teardown_times: Vec<Duration>,
    /// The number of requests that were rejected or got no reply in time.
    pub failed_requests: usize,
    /// The simulated hosts that went offline during the measurement.
    pub offline_hosts: BTreeSet<HostId>,
    /// The number of heartbeats that were sent but not accepted.
    pub lost_heartbeats: u64,
}

impl LoadResult {
    /// Returns the smallest value that at least `percent` percent of the sorted values do not
    /// exceed, or `None` if there are no values.
    pub fn percentile(sorted: &[Duration], percent: usize) -> Option<Duration> {
        let rank = (sorted.len() * percent).div_ceil(100);
        sorted.get(rank.checked_sub(1)?).copied()
    }
}

impl TeardownLoad {
    /// Starts the simulated hosts, which send a heartbeat every second, and connects the operators.
    pub async fn start(cluster: &Cluster) -> Result<Self> {
        let (hosts, deckies) = (HOSTS.to_string(), DECKIES.to_string());
        let arguments = [
            "--enroll",
            "--hosts",
            &hosts,
            "--deckies-per-host",
            &deckies,
            "--heartbeat-ms",
            "1000",
            "--teardown-ms",
            "50..100",
        ];
        let simulator = cluster
            .start_simulator(&cluster.path("sim"), &arguments)
            .await?;
        let mut operators = Vec::new();
        for _ in 0..OPERATORS {
            operators.push(cluster.connect(Role::Operator).await?);
        }
        let hosts = cluster.operator.list_hosts().await?.into_keys();
        Ok(Self {
            operators,
            hosts: hosts
                .filter(|host| host.as_str().starts_with("sim-"))
                .collect(),
            simulator,
            next: AtomicUsize::new(0),
        })
    }

    /// Returns the simulator's process.
    pub fn process(&mut self) -> &mut Process {
        self.simulator.process()
    }

    /// Runs the load for `duration` and returns the measurements.
    ///
    /// # Errors
    /// If an operation does not end, or a broadcast or the simulator's log cannot be read.
    pub async fn measure(&mut self, duration: Duration) -> Result<LoadResult> {
        let before = self.read_heartbeat_counts().await?;
        let mut host_updates = self.operators[0]
            .nats()
            .subscribe(subjects::HOSTS_UPDATED)
            .await?;
        let result = Mutex::new(LoadResult::default());
        let mut work = Box::pin(try_join_all(self.operators.iter().map(|operator| {
            let (result, next) = (&result, &self.next);
            let hosts = &self.hosts;
            async move {
                let start = Instant::now();
                while start.elapsed() < duration {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let host = &hosts[number % hosts.len()];
                    let decky = format!("decky-{:02}", number / hosts.len() + 1);
                    tear_down(operator, host, &decky, result).await?;
                }
                anyhow::Ok(())
            }
        })));
        loop {
            tokio::select! {
                done = &mut work => {
                    done?;
                    break;
                }
                Some(message) = host_updates.next() => {
                    let update: HostsUpdated = serde_json::from_slice(&message.payload)?;
                    let offline = update.updated.into_iter().filter(|host| host.status == HostStatus::Offline);
                    let ours = offline.map(|host| host.host_uuid).filter(|host| self.hosts.contains(host));
                    lock(&result).offline_hosts.extend(ours);
                }
            };
        }
        drop(work);
        let after = self.read_heartbeat_counts().await?;
        let mut result = result.into_inner().context("a task panicked")?;
        result.lost_heartbeats =
            (after.sent - before.sent).saturating_sub(after.accepted - before.accepted);
        result.accept_times.sort_unstable();
        result.teardown_times.sort_unstable();
        Ok(result)
    }

    /// Reads the heartbeat counts from the latest summary that the simulator has logged.
    async fn read_heartbeat_counts(&mut self) -> Result<HeartbeatCounts> {
        let line = self.simulator.process().wait_for_line("(accepted ").await?;
        let (_, counts) = line
            .split_once("heartbeats ")
            .context("no heartbeat counts")?;
        let mut numbers = counts.split(|c: char| !c.is_ascii_digit());
        let mut number = || numbers.find_map(|digits| digits.parse().ok());
        Ok(HeartbeatCounts {
            sent: number().context("no count of sent heartbeats")?,
            accepted: number().context("no count of accepted heartbeats")?,
        })
    }
}

/// The total numbers of sent and accepted heartbeats of all simulated hosts so far.
struct HeartbeatCounts {
    sent: u64,
    accepted: u64,
}

async fn tear_down(
    operator: &Client,
    host: &HostId,
    decky: &str,
    result: &Mutex<LoadResult>,
) -> Result<()> {
    let start = Instant::now();
    match operator.tear_down(host, decky).await {
        Ok(accepted) => {
            lock(result).accept_times.push(start.elapsed());
            operator.wait_for_end(accepted.operation_id).await?;
            lock(result).teardown_times.push(start.elapsed());
        }
        Err(_) => lock(result).failed_requests += 1,
    }
    Ok(())
}
