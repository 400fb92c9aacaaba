//! `scale`: a million shards on ten thousand hosts, which are registered by heartbeats over NATS,
//! as agents register them.
//!
//! Each measurement has a module. A measurement that changes the registered data runs on a copy of
//! the data, or last, so that no measurement affects another. `store` prepares a controller's file
//! while no controller runs.

mod accepts;
mod checkpoint;
mod heartbeats;
mod paging;
mod sizes;
mod start;
pub(crate) mod store;
mod unsynced_file;

use anyhow::{Context, Result};

use crate::environment::shared::Environment;
use crate::environment::swarm::{RunningSwarm, SwarmData};
use crate::report::summary::Report;
use crate::workloads::scale::sizes::{
    DECKIES_PER_HOST, HOSTS, SHARDS, SMALL_HOSTS, resident_bytes,
};

pub(crate) async fn run(environment: &mut Environment, report: &mut Report) -> Result<()> {
    report.print_line("\nA million shards on ten thousand hosts\n");
    let (large, after_load) = register(environment, HOSTS).await.context("register")?;
    let (small, _) = register(environment, SMALL_HOSTS)
        .await
        .context("register")?;

    let (large, after_start) = start::run(environment, report, large)
        .await
        .context("start")?;
    report_memory(report, after_load, after_start)?;
    let rate = accepts::run(environment, report, &small, &large)
        .await
        .context("accepts")?;
    checkpoint::run(environment, report, &large, rate)
        .await
        .context("checkpoint")?;
    let swarm = large.start(environment).await?;
    paging::run(environment, report).await.context("paging")?;
    heartbeats::run(environment, report, &swarm)
        .await
        .context("heartbeats")
}

/// Registers the shards of `hosts` hosts, and moves all shards from the journal to the rows.
/// Returns the data, and the controller's memory after the registration in bytes.
async fn register(environment: &Environment, hosts: u32) -> Result<(SwarmData, f64)> {
    let mut swarm = RunningSwarm::start_empty(environment).await?;
    let (data, client) = (&mut swarm.data, &environment.client);
    data.register(client, hosts, DECKIES_PER_HOST).await?;
    let memory = resident_bytes(&swarm)?;
    let data = swarm.kill().await?;
    store::empty_journal(&data.data_dir())?;
    Ok((data, memory))
}

fn report_memory(report: &mut Report, after_load: f64, after_start: f64) -> Result<()> {
    let (load, start) = (after_load / SHARDS, after_start / SHARDS);
    report.print_line(&format!(
        "memory: {load:.0} bytes per shard after all were registered, {start:.0} after a start"
    ));
    let unit = "bytes per shard, everything included";
    report.expect_at_most("memory at 1,000,000 shards, registered", unit, 1024.0, load);
    report.expect_at_most("memory at 1,000,000 shards, started", unit, 1024.0, start);
    report.record("memory_bytes_a_shard", &[load, start])
}
