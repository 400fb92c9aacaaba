//! How well operators and honest agents are served: teardowns from several operators at once on simulated hosts, each
//! timed to its acceptance and to its end. Beside it, whatever a test or a bench lets happen: see `flood`.

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
use crate::cluster::swarm::Swarm;
use crate::programs::process::Process;
use crate::programs::simulator::Sim;
use crate::roles::Role;
use crate::wait::lock;

/// How many simulated hosts.
pub const HOSTS: usize = 50;
/// How many deckies each has: more than are torn down.
const DECKIES: usize = 100;
/// How many operators ask at the same time, each for the next teardown when its last one has ended.
const OPERATORS: usize = 8;

/// Simulated hosts, and who has them torn down.
#[derive(Debug)]
pub struct Service {
    operators: Vec<Client>,
    hosts: Vec<HostId>,
    sim: Sim,
    next: AtomicUsize,
}

/// What was measured.
#[derive(Debug, Default)]
pub struct Served {
    /// From the request to its acceptance, sorted.
    pub accepts: Vec<Duration>,
    /// From the request to the end of the operation, sorted.
    pub teardowns: Vec<Duration>,
    /// Requests that were refused, or not answered within seconds.
    pub unserved: usize,
    /// Simulated hosts that counted as offline meanwhile.
    pub offline: BTreeSet<HostId>,
    /// Heartbeats that were sent and not accepted.
    pub unheard: u64,
}

impl Served {
    /// The value that so many percent of them do not exceed; none of nothing.
    pub fn quantile(sorted: &[Duration], percent: usize) -> Option<Duration> {
        let rank = (sorted.len() * percent).div_ceil(100);
        sorted.get(rank.checked_sub(1)?).copied()
    }
}

impl Service {
    /// Starts the simulated hosts, which send a heartbeat each second.
    ///
    /// # Errors
    /// They do not get ready.
    pub async fn start(swarm: &Swarm) -> Result<Self> {
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
        let sim = Sim::start(&swarm.nats, &swarm.path("sim"), &arguments).await?;
        let mut operators = Vec::new();
        for _ in 0..OPERATORS {
            operators.push(Client::connect(&swarm.nats, Role::Operator).await?);
        }
        let hosts = swarm.operator.hosts().await?.into_keys();
        Ok(Self {
            operators,
            hosts: hosts
                .filter(|host| host.as_str().starts_with("sim-"))
                .collect(),
            sim,
            next: AtomicUsize::new(0),
        })
    }

    /// The simulator's process.
    pub fn process(&mut self) -> &mut Process {
        self.sim.process()
    }

    /// Tears down for some time.
    ///
    /// # Errors
    /// An operation does not end.
    pub async fn measure(&mut self, time: Duration) -> Result<Served> {
        let (sent, heard) = self.heartbeats().await?;
        let mut ear = self.operators[0]
            .nats()
            .subscribe(subjects::HOSTS_UPDATED)
            .await?;
        let served = Mutex::new(Served::default());
        let mut work = Box::pin(try_join_all(self.operators.iter().map(|operator| {
            let (served, next) = (&served, &self.next);
            let hosts = &self.hosts;
            async move {
                let begun = Instant::now();
                while begun.elapsed() < time {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let host = &hosts[number % hosts.len()];
                    let decky = format!("decky-{:02}", number / hosts.len() + 1);
                    tear_down(operator, host, &decky, served).await?;
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
                Some(told) = ear.next() => {
                    let told: HostsUpdated = serde_json::from_slice(&told.payload)?;
                    let away = told.updated.into_iter().filter(|host| host.status == HostStatus::Offline);
                    let ours = away.map(|host| host.host_uuid).filter(|host| self.hosts.contains(host));
                    lock(&served).offline.extend(ours);
                }
            };
        }
        drop(work);
        let (sent_in_all, heard_in_all) = self.heartbeats().await?;
        let mut served = served.into_inner().context("nobody panicked")?;
        served.unheard = (sent_in_all - sent).saturating_sub(heard_in_all - heard);
        served.accepts.sort_unstable();
        served.teardowns.sort_unstable();
        Ok(served)
    }

    /// How many heartbeats the agents have sent, and how many the controller has accepted.
    async fn heartbeats(&mut self) -> Result<(u64, u64)> {
        let line = self.sim.process().line("(accepted ").await?;
        let (_, counts) = line.split_once("heartbeats ").context("a count")?;
        let mut numbers = counts.split(|c: char| !c.is_ascii_digit());
        let mut number = || numbers.find_map(|digits| digits.parse().ok());
        Ok((number().context("a count")?, number().context("a count")?))
    }
}

async fn tear_down(
    operator: &Client,
    host: &HostId,
    decky: &str,
    served: &Mutex<Served>,
) -> Result<()> {
    let asked = Instant::now();
    match operator.teardown(host, decky).await {
        Ok(accepted) => {
            lock(served).accepts.push(asked.elapsed());
            operator.ended(accepted.operation_id).await?;
            lock(served).teardowns.push(asked.elapsed());
        }
        Err(_) => lock(served).unserved += 1,
    }
    Ok(())
}
