//! `scale`: a million shards on ten thousand hosts, registered by heartbeats over NATS as agents register them.
//!
//! What is measured then is each in a module: `accepts` (beside ten thousand shards), `memory`, `start`, `heartbeats`,
//! `paging`, `checkpoint`. Each begins with a controller on a copy of what was registered, so that none carries what another did;
//! `store` is what the bench does to a controller's file while none runs.

mod accepts;
mod checkpoint;
mod heartbeats;
mod paging;
mod start;
pub(crate) mod store;
mod unsynced;

use anyhow::{Context, Result};

use crate::report::Report;
use crate::stage::Stage;
use crate::swarm::{Stored, Swarm};

const HOSTS: u32 = 10_000;
/// On each host.
const DECKIES: u32 = 100;
const SHARDS: f64 = HOSTS as f64 * DECKIES as f64;
/// Hosts of the small swarm beside it: ten thousand shards.
const FEW_HOSTS: u32 = 100;

/// Measures and reports.
pub(crate) async fn run(stage: &mut Stage, report: &mut Report) -> Result<()> {
    report.say("\nA million shards on ten thousand hosts\n");
    let (many, after_load) = registered(stage, HOSTS).await.context("register")?;
    let (few, _) = registered(stage, FEW_HOSTS).await.context("register")?;

    let (many, after_start) = start::run(stage, report, many).await.context("start")?;
    memory(report, after_load, after_start)?;
    let rate = accepts::run(stage, report, &few, &many)
        .await
        .context("accepts")?;
    checkpoint::run(stage, report, &many, rate)
        .await
        .context("checkpoint")?;
    let swarm = many.start(stage).await?;
    paging::run(stage, report).await.context("paging")?;
    heartbeats::run(stage, report, &swarm)
        .await
        .context("heartbeats")
}

/// So many hosts' shards, registered, and all of it in the rows; with the controller's memory when it had done so, in bytes.
async fn registered(stage: &Stage, hosts: u32) -> Result<(Stored, f64)> {
    let mut swarm = Swarm::empty(stage).await?;
    let (stored, client) = (&mut swarm.stored, &stage.client);
    stored.register(client, hosts, DECKIES).await?;
    let memory = resident(&swarm)?;
    let stored = swarm.kill().await?;
    store::settle(&stored.data_dir())?;
    Ok((stored, memory))
}

fn resident(swarm: &Swarm) -> Result<f64> {
    Ok(swarm.process.memory()? as f64 * 1024.0)
}

fn memory(report: &mut Report, after_load: f64, after_start: f64) -> Result<()> {
    let (load, start) = (after_load / SHARDS, after_start / SHARDS);
    report.say(&format!(
        "memory: {load:.0} bytes a shard when all were registered, {start:.0} after a start"
    ));
    let unit = "bytes a shard, all in";
    report.at_most("memory at 1,000,000 shards, registered", unit, 1024.0, load);
    report.at_most("memory at 1,000,000 shards, started", unit, 1024.0, start);
    report.keep("memory_bytes_a_shard", &[load, start])
}
