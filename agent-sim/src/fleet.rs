//! All simulated hosts together: started, watched, reported once a second, stopped.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result};
use scuttle_agent::Link;
use scuttle_schemas::HostId;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use crate::args::Args;
use crate::chance::Chance;
use crate::host::{self, SimHost};
use crate::runtime::{self, SimRuntime};
use crate::world::World;

/// How often it is looked whether all hosts are ready.
const LOOK: Duration = Duration::from_millis(50);
/// How long hosts may take to stop.
const STOP: Duration = Duration::from_secs(5);

/// The ids of the hosts, which are their names as well.
pub fn ids(args: &Args) -> Vec<HostId> {
    (1..=args.hosts)
        .filter_map(|number| format!("{}-{number:04}", args.host_prefix).parse().ok())
        .collect()
}

/// The hosts, each with its deckies, as the data directory has them or anew.
///
/// # Errors
/// A host's file cannot be used.
pub fn hosts(args: &Args) -> Result<Vec<Arc<SimHost>>> {
    let chance = Chance(args.seed);
    let spread = u64::from(args.heartbeat_ms).min(2 * u64::from(args.hosts));
    ids(args)
        .into_iter()
        .map(|id| {
            let directory = args
                .data_dir
                .as_deref()
                .map(|directory| directory.join(id.as_str()));
            let world = World::open(directory.as_deref(), &id, chance, args.deckies_per_host)?;
            let runtime = SimRuntime::new(
                id.clone(),
                runtime::Orders {
                    chance,
                    teardown_ms: args.teardown_ms.clone(),
                    fail_rate: args.fail_rate,
                    crash_rate: args.crash_rate,
                    redeploy_ms: args.redeploy_ms.clone(),
                },
                world,
            );
            let orders = host::Orders {
                chance,
                heartbeat_ms: args.heartbeat_ms,
                offline_rate: args.offline_rate,
                duplicate_rate: args.duplicate_rate,
                phase_ms: chance.draw("phase", &[id.as_str()], 0) % spread,
            };
            Ok(Arc::new(SimHost::new(id, runtime, orders, directory)))
        })
        .collect()
}

/// Runs the hosts until `stop` is true, and reports.
///
/// # Errors
/// An agent ended by itself.
pub async fn run(
    hosts: &[Arc<SimHost>],
    link: &Link,
    mut stop: watch::Receiver<bool>,
) -> Result<()> {
    let (halt, halted) = watch::channel(false);
    let mut lives = JoinSet::new();
    for host in hosts {
        let (host, link, halted) = (host.clone(), link.clone(), halted.clone());
        lives.spawn(async move {
            let ended = host.live(&link, halted).await;
            ended.with_context(|| format!("the agent of host {} ended", host.id))
        });
    }
    let ended = tokio::select! {
        Some(ended) = lives.join_next() => ended.context("an agent's task died").flatten(),
        () = report(hosts) => Ok(()),
        _ = stop.wait_for(|stop| *stop) => Ok(()),
    };
    halt.send_replace(true);
    let all = async { while lives.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(STOP, all).await;
    ended
}

async fn report(hosts: &[Arc<SimHost>]) {
    let started = Instant::now();
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    second.reset();
    let mut look = tokio::time::interval(LOOK);
    let mut ready = false;
    loop {
        tokio::select! {
            _ = look.tick(), if !ready => {
                ready = hosts.iter().all(|host| is_ready(host));
                if ready {
                    let deckies: usize = hosts.iter().map(|host| host.runtime.deckies()).sum();
                    say(&format!("ready: {} hosts, {deckies} deckies", hosts.len()));
                }
            }
            _ = second.tick() => say(&summary(hosts, started.elapsed())),
        }
    }
}

/// The controller has its inventory.
fn is_ready(host: &SimHost) -> bool {
    host.counters.inventories_accepted.load(Ordering::Relaxed) > 0
}

/// One line with all that was done so far.
fn summary(hosts: &[Arc<SimHost>], elapsed: Duration) -> String {
    let sum = |one: &dyn Fn(&SimHost) -> u64| hosts.iter().map(|host| one(host)).sum::<u64>();
    let counted = |name: &str| {
        sum(&|host| {
            host.counters
                .all()
                .find(|(each, _)| *each == name)
                .map_or(0, |(_, count)| count)
        })
    };
    format!(
        "{:>4}s  hosts {} (away {})  deckies {}  commands {} (ignored {}, expired {})  teardowns {} (done {}, failed {})  results {} (recorded {})  heartbeats {} (accepted {})  crashes {}  redeployed {}",
        elapsed.as_secs(),
        hosts.len(),
        sum(&|host| host.is_away().into()),
        sum(&|host| host.runtime.deckies() as u64),
        counted("commands"),
        counted("ignored") + counted("bad_payloads"),
        counted("expired"),
        counted("started"),
        counted("succeeded"),
        counted("failed"),
        counted("results_sent"),
        counted("results_recorded"),
        counted("heartbeats_sent"),
        counted("heartbeats_accepted"),
        sum(&|host| host.crashes.load(Ordering::Relaxed)),
        sum(&|host| host.redeployed.load(Ordering::Relaxed)),
    )
}

/// A line on stdout, at once. That nobody reads it any more is no reason to stop.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Makes the data directory, so that a wrong path is told before anything else is done.
///
/// # Errors
/// It cannot be made.
pub fn prepare(data_dir: Option<&Path>) -> Result<()> {
    match data_dir {
        Some(path) => std::fs::create_dir_all(path).with_context(|| {
            format!(
                "cannot create the data directory {}; choose another --data-dir",
                path.display()
            )
        }),
        None => Ok(()),
    }
}
