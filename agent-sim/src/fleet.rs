//! Creates all simulated hosts, runs their agents, and prints their status every second.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result};
use scuttle_agent::Connection;
use scuttle_schemas::HostId;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::args::Args;
use crate::output::print_line;
use crate::seeded_rng::SeededRng;
use crate::simulated_agent::{AgentBehavior, SimulatedAgent};
use crate::simulated_host::SimulatedHost;
use crate::simulated_runtime::{RuntimeBehavior, SimulatedRuntime};

/// The interval between two checks of whether all hosts are ready.
const READY_POLL_INTERVAL: Duration = Duration::from_millis(50);
/// The maximum time to wait for the agents to stop before they are aborted.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// Returns the ids of the hosts, which are also their names.
pub fn host_ids(args: &Args) -> Vec<HostId> {
    (1..=args.hosts)
        .filter_map(|number| format!("{}-{number:04}", args.host_prefix).parse().ok())
        .collect()
}

/// Creates the agents of all hosts. A host with files in the data directory continues where it
/// stopped.
///
/// # Errors
/// If a host's file cannot be read or written.
pub fn build_agents(args: &Args) -> Result<Vec<Arc<SimulatedAgent>>> {
    let rng = SeededRng(args.seed);
    let spread = u64::from(args.heartbeat_ms).min(2 * u64::from(args.hosts));
    host_ids(args)
        .into_iter()
        .map(|id| {
            let directory = args
                .data_dir
                .as_deref()
                .map(|directory| directory.join(id.as_str()));
            let simulated =
                SimulatedHost::open(directory.as_deref(), &id, rng, args.deckies_per_host)?;
            let runtime = SimulatedRuntime::new(
                id.clone(),
                RuntimeBehavior {
                    rng,
                    teardown_ms: args.teardown_ms.clone(),
                    fail_rate: args.fail_rate,
                    crash_rate: args.crash_rate,
                    redeploy_ms: args.redeploy_ms.clone(),
                },
                simulated,
            );
            let behavior = AgentBehavior {
                rng,
                heartbeat_ms: args.heartbeat_ms,
                concurrency: args.concurrency,
                offline_rate: args.offline_rate,
                duplicate_rate: args.duplicate_rate,
                start_delay_ms: rng.draw("phase", &[id.as_str()], 0) % spread,
            };
            let agent = SimulatedAgent::new(id, runtime, behavior, directory);
            Ok(Arc::new(agent))
        })
        .collect()
}

/// Runs the agents until `shutdown` is cancelled, and prints their status every second.
///
/// # Errors
/// If an agent stops with an error or panics.
pub async fn run(
    agents: &[Arc<SimulatedAgent>],
    connection: &Connection,
    shutdown: CancellationToken,
) -> Result<()> {
    // Also cancelled when one agent fails.
    let stop_all = shutdown.child_token();
    let mut tasks = JoinSet::new();
    for agent in agents {
        let (agent, connection, stop_all) = (agent.clone(), connection.clone(), stop_all.clone());
        tasks.spawn(async move {
            let ended = agent.run(&connection, stop_all).await;
            ended.with_context(|| format!("the agent of host {} stopped", agent.id))
        });
    }
    let ended = tokio::select! {
        Some(ended) = tasks.join_next() => ended.context("the task of an agent panicked").flatten(),
        () = print_status(agents) => Ok(()),
        () = shutdown.cancelled() => Ok(()),
    };
    stop_all.cancel();
    let all = async { while tasks.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(SHUTDOWN_TIMEOUT, all).await;
    ended
}

async fn print_status(agents: &[Arc<SimulatedAgent>]) {
    let started = Instant::now();
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    second.reset();
    let mut poll = tokio::time::interval(READY_POLL_INTERVAL);
    let mut ready = false;
    loop {
        tokio::select! {
            _ = poll.tick(), if !ready => {
                ready = agents.iter().all(|agent| is_ready(agent));
                if ready {
                    let deckies: usize = agents.iter().map(|agent| agent.runtime.decky_count()).sum();
                    print_line(&format!("ready: {} hosts, {deckies} deckies", agents.len()));
                }
            }
            _ = second.tick() => print_line(&summarize(agents, started.elapsed())),
        }
    }
}

/// Returns whether the controller has accepted the inventory of the host.
fn is_ready(agent: &SimulatedAgent) -> bool {
    agent.counters.inventories_accepted.load(Ordering::Relaxed) > 0
}

/// Returns a status line with the elapsed time, the current numbers of hosts and deckies, and the
/// agents' totals since the start.
fn summarize(agents: &[Arc<SimulatedAgent>], elapsed: Duration) -> String {
    let sum =
        |get: &dyn Fn(&SimulatedAgent) -> u64| agents.iter().map(|agent| get(agent)).sum::<u64>();
    let total = |name: &str| {
        sum(&|agent| {
            agent
                .counters
                .to_named_values()
                .find(|(each, _)| *each == name)
                .map_or(0, |(_, count)| count)
        })
    };
    format!(
        "{:>4}s  hosts {} (away {})  deckies {}  commands {} (ignored {}, expired {})  teardowns {} (done {}, failed {})  results {} (recorded {})  heartbeats {} (accepted {})  crashes {}  redeployed {}",
        elapsed.as_secs(),
        agents.len(),
        sum(&|agent| agent.is_offline().into()),
        sum(&|agent| agent.runtime.decky_count() as u64),
        total("commands"),
        total("ignored") + total("bad_payloads"),
        total("expired"),
        total("started"),
        total("succeeded"),
        total("failed"),
        total("results_sent"),
        total("results_recorded"),
        total("heartbeats_sent"),
        total("heartbeats_accepted"),
        sum(&|agent| agent.crashes.load(Ordering::Relaxed)),
        sum(&|agent| agent.redeployed.load(Ordering::Relaxed)),
    )
}

/// Creates the data directory, if one is given, so that a wrong path is reported before anything
/// else happens.
///
/// # Errors
/// If the directory cannot be created.
pub fn create_data_dir(data_dir: Option<&Path>) -> Result<()> {
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
