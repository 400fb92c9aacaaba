//! A real controller on a data directory of its own, and as many shards as are asked for.
//!
//! Its hosts' agents are heard once and then say nothing: no command is answered, so nothing but accepts (and what the
//! controller does by itself meanwhile, sending commands again included) is in the measurement.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use futures_util::{TryStreamExt, stream};
use scuttle_schemas::BootId;
use scuttle_schemas::agents::{Heartbeat, HeartbeatAccepted, HeartbeatType};
use scuttle_schemas::hosts::EnrollAccepted;
use scuttle_schemas::subjects::{self, AgentChannel};
use scuttle_tests::process::Process;
use scuttle_tests::{Client, Controller, reported};
use serde_json::json;
use tempfile::TempDir;
use uuid::Uuid;

use crate::load::{Targets, decky_id, host_id};
use crate::stage::Stage;

/// Deckies on one page of an inventory: well below 256 KiB.
const PAGE: usize = 2048;
/// Hosts that are prepared at the same time.
const CONCURRENT: usize = 64;
/// Milliseconds between heartbeats, as the agents promise: an hour, so that one is enough.
const INTERVAL_MS: u32 = 3_600_000;

/// A controller. Dropping it kills it and removes what it stored.
pub(crate) struct Swarm {
    pub(crate) hosts: u32,
    pub(crate) deckies: u32,
    process: Process,
    _dir: TempDir,
}

impl Swarm {
    /// Starts a controller with nothing on record.
    pub(crate) async fn empty(stage: &Stage) -> Result<Self> {
        let dir = tempfile::tempdir_in(stage.dir())?;
        let process = start(stage, &dir.path().join("controller")).await?;
        Ok(Self {
            hosts: 0,
            deckies: 0,
            process,
            _dir: dir,
        })
    }

    /// Starts a controller with at least so many shards, on as few hosts as can be.
    pub(crate) async fn with_shards(stage: &Stage, shards: usize) -> Result<Self> {
        let Targets { hosts, deckies, .. } = Targets::at_least(shards);
        let mut swarm = Self::empty(stage).await?;
        let registered = swarm.register(&stage.client, hosts.end, deckies.end).await;
        registered.context("prepare the swarm")?;
        Ok(swarm)
    }

    /// Enrols so many hosts, and reports so many deckies on each.
    pub(crate) async fn register(
        &mut self,
        client: &Client,
        hosts: u32,
        deckies: u32,
    ) -> Result<()> {
        let boot_id = BootId(Uuid::now_v7());
        stream::iter((0..hosts).map(Ok))
            .try_for_each_concurrent(CONCURRENT, |host| prepare(client, host, deckies, boot_id))
            .await?;
        (self.hosts, self.deckies) = (hosts, deckies);
        Ok(())
    }

    /// Every decky that it has.
    pub(crate) fn targets(&self) -> Targets {
        Targets {
            hosts: 0..self.hosts,
            deckies: 0..self.deckies,
            skip: 0,
        }
    }

    pub(crate) fn id(&self) -> Result<u32> {
        self.process.id().context("the controller has ended")
    }
}

/// Starts a controller on this data directory, and waits until it answers.
async fn start(stage: &Stage, data_dir: &Path) -> Result<Process> {
    let mut command = Controller::command();
    command.args(["--nats-url", &stage.server.url, "--data-dir"]);
    command.arg(data_dir);
    let log = data_dir.with_extension("log");
    let mut process = Process::spawn("the controller", command, &log)?;
    stage.client.answered().await?;
    process.quiet = true;
    Ok(process)
}

/// Enrols one host, and reports its deckies.
async fn prepare(client: &Client, number: u32, deckies: u32, boot_id: BootId) -> Result<()> {
    let host = host_id(number);
    let request = json!({ "name": host, "host_uuid": host });
    let _: EnrollAccepted = client.ask(subjects::HOSTS_ENROLL, &request).await?;
    let deckies: Vec<String> = (0..deckies).map(decky_id).collect();
    let subject = AgentChannel::Heartbeat.of(&host);
    let pages = u32::try_from(deckies.len().div_ceil(PAGE))?;
    for (page, deckies) in (1..).zip(deckies.chunks(PAGE)) {
        let heartbeat = Heartbeat {
            kind: HeartbeatType,
            host_uuid: host.clone(),
            agent_version: "bench".into(),
            boot_id,
            sequence: 1,
            interval_ms: INTERVAL_MS,
            page,
            pages,
            shards: Some(deckies.iter().map(|decky| reported(decky)).collect()),
            inventory_error: None,
        };
        let answer: HeartbeatAccepted = client.ask(&subject, &heartbeat).await?;
        ensure!(
            answer.accepted && !answer.stale && (page < pages || !answer.send_inventory),
            "the inventory of {host}: {answer:?}"
        );
    }
    Ok(())
}
