//! What a round of accepts needs: a real controller on a new data directory, and a shard for every request.
//!
//! Its hosts' agents are heard once and then say nothing: no command is answered, so nothing but accepts (and what the
//! controller does by itself meanwhile, sending commands again included) is in the measurement.

use std::path::Path;

use anyhow::{Context, Result};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use scuttle_schemas::agents::{Heartbeat, HeartbeatAccepted, HeartbeatType};
use scuttle_schemas::subjects::AgentChannel;
use scuttle_schemas::{BootId, HostId, MAX_DECKIES_PER_HOST};
use scuttle_tests::process::Process;
use scuttle_tests::{Client, Controller, reported};
use serde_json::json;
use tempfile::TempDir;
use uuid::Uuid;

/// Deckies on one page of an inventory: well below 256 KiB.
const PAGE: usize = 2048;
/// Hosts that are prepared at the same time.
const CONCURRENT: usize = 8;
/// Milliseconds between heartbeats, as the agents promise: an hour, so that one is enough.
const INTERVAL_MS: u32 = 3_600_000;
/// No deadline passes in a round.
const TIMEOUT_S: u32 = 3600;

/// A controller with shards. Dropping it kills it and removes what it stored.
pub(crate) struct Swarm {
    pub(crate) requests: Vec<Bytes>,
    _process: Process,
    _dir: TempDir,
}

impl Swarm {
    /// Starts a controller that stores under `parent`, and makes at least so many shards.
    pub(crate) async fn start(
        url: &str,
        client: &Client,
        parent: &Path,
        shards: usize,
    ) -> Result<Self> {
        let dir = tempfile::tempdir_in(parent)?;
        let mut command = Controller::command();
        command.args(["--nats-url", url, "--data-dir"]);
        command.arg(dir.path().join("controller"));
        let log = dir.path().join("controller.log");
        let mut process = Process::spawn("the controller", command, &log)?;
        client.answered().await?;
        let hosts = stream::iter(0..shards.div_ceil(MAX_DECKIES_PER_HOST))
            .map(|number| prepare(client, number))
            .buffered(CONCURRENT)
            .try_collect::<Vec<HostId>>()
            .await?;
        process.quiet = true;
        Ok(Self {
            requests: requests(&hosts),
            _process: process,
            _dir: dir,
        })
    }
}

/// Enrols one host, and reports as many deckies as a host may have.
async fn prepare(client: &Client, number: usize) -> Result<HostId> {
    let host = client
        .enroll(&format!("bench-{number:04}"))
        .await?
        .host
        .host_uuid;
    let deckies: Vec<String> = deckies().collect();
    let subject = AgentChannel::Heartbeat.of(&host);
    let boot_id = BootId(Uuid::now_v7());
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
        anyhow::ensure!(
            answer.accepted && !answer.stale,
            "the inventory: {answer:?}"
        );
    }
    let listed = client
        .host(&host)
        .await
        .context("a host that was prepared")?;
    anyhow::ensure!(listed.shards == MAX_DECKIES_PER_HOST, "{listed:?}");
    Ok(host)
}

/// One teardown request for every decky, host by host in turn.
fn requests(hosts: &[HostId]) -> Vec<Bytes> {
    let all = deckies().flat_map(|decky| hosts.iter().map(move |host| request(host, &decky)));
    all.collect()
}

/// A teardown request: what both services are sent.
pub(crate) fn request(host: &HostId, decky: &str) -> Bytes {
    json!({ "host_uuid": host, "decky_id": decky, "timeout_s": TIMEOUT_S })
        .to_string()
        .into()
}

fn deckies() -> impl Iterator<Item = String> {
    (1..=MAX_DECKIES_PER_HOST).map(|number| format!("decky-{number:04}"))
}
