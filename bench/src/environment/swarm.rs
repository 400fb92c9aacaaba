//! A real controller with a new data directory and the number of shards that a measurement needs.
//!
//! Except in the `teardown` workload, there are no agents. The benchmark sends the reports of the
//! hosts itself and does not react to commands. A measurement therefore contains only the
//! benchmark's messages and the controller's background work, such as resending commands.

use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::{TryStreamExt, stream};
use scuttle_controller::store::FILE_NAME;
use scuttle_schemas::agents::{Heartbeat, HeartbeatAccepted};
use scuttle_schemas::hosts::EnrollAccepted;
use scuttle_schemas::subjects::{self, AgentChannel};
use scuttle_schemas::{BootId, ErrorCode, HostId};
use scuttle_tests::programs::process::Process;
use scuttle_tests::{Client, Controller, Rejection, RequestError, reported_shard};
use serde_json::json;
use tempfile::TempDir;
use tokio::time::sleep;
use uuid::Uuid;

use crate::environment::shared::Environment;
use crate::load::spec::{RequestKind, Targets, decky_id, heartbeat, host_id};

/// The maximum number of deckies on one page of an inventory. Such a page is well below 256 KiB.
const DECKIES_PER_PAGE: usize = 2048;
const START_TIMEOUT: Duration = Duration::from_mins(2);
const OVERLOADED_RETRY_DELAY: Duration = Duration::from_millis(250);
/// The maximum number of hosts that are registered concurrently.
const MAX_CONCURRENT: usize = 64;

/// The data directory of a controller, and the size of the registered swarm. Dropping this value
/// removes the files.
pub(crate) struct SwarmData {
    pub(crate) hosts: u32,
    pub(crate) deckies: u32,
    boot: BootId,
    dir: TempDir,
}

/// A running controller and its data. Dropping this value kills the process and removes the files.
pub(crate) struct RunningSwarm {
    pub(crate) data: SwarmData,
    pub(crate) process: Process,
}

impl SwarmData {
    pub(crate) fn empty(environment: &Environment) -> Result<Self> {
        Ok(Self {
            hosts: 0,
            deckies: 0,
            boot: BootId(Uuid::now_v7()),
            dir: tempfile::tempdir_in(environment.dir())?,
        })
    }

    /// Returns the boot that all reports of the hosts name.
    pub(crate) fn boot(&self) -> BootId {
        self.boot
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.dir.path().join("controller")
    }

    /// Starts a controller on the data, and waits until it replies to requests.
    pub(crate) async fn start(self, environment: &Environment) -> Result<RunningSwarm> {
        let mut command = Controller::command();
        command.args(["--nats-url", &environment.server.url, "--data-dir"]);
        command.arg(self.data_dir());
        let log = environment.log("controller");
        let start = Instant::now();
        let mut process = Process::spawn("the controller", command, &log)?;
        // With a million shards, the start takes longer than the client waits for a reply.
        while let Err(error) = environment.client.wait_until_ready().await {
            process.ensure_running()?;
            ensure!(start.elapsed() < START_TIMEOUT, "{error:#}");
        }
        process.quiet = true;
        Ok(RunningSwarm {
            data: self,
            process,
        })
    }

    /// Copies the controller's file into a new data directory, and syncs the copy to disk.
    pub(crate) fn copy(&self, environment: &Environment) -> Result<Self> {
        let copy = Self {
            dir: tempfile::tempdir_in(environment.dir())?,
            ..*self
        };
        std::fs::create_dir(copy.data_dir())?;
        let (from, to) = (self.data_dir(), copy.data_dir());
        std::fs::copy(from.join(FILE_NAME), to.join(FILE_NAME))
            .and_then(|_| File::open(to.join(FILE_NAME))?.sync_all())
            .with_context(|| format!("copy {}", from.display()))?;
        Ok(copy)
    }

    /// Returns all registered deckies as the targets of a load.
    pub(crate) fn targets(&self) -> Targets {
        Targets {
            hosts: 0..self.hosts,
            deckies: 0..self.deckies,
            skip: 0,
        }
    }

    /// Returns a request kind for heartbeats that report no change. The sequence numbers of each
    /// host start at `sequence`.
    pub(crate) fn heartbeats(&self, sequence: u64) -> RequestKind {
        RequestKind::Heartbeat {
            boot: self.boot,
            sequence,
        }
    }
}

impl RunningSwarm {
    pub(crate) async fn start_empty(environment: &Environment) -> Result<Self> {
        SwarmData::empty(environment)?.start(environment).await
    }

    /// Starts a controller and registers at least `shards` shards, on as few hosts as possible.
    pub(crate) async fn start_with_shards(
        environment: &Environment,
        shards: usize,
    ) -> Result<Self> {
        let Targets { hosts, deckies, .. } = Targets::with_shards(shards);
        let mut swarm = Self::start_empty(environment).await?;
        let (data, client) = (&mut swarm.data, &environment.client);
        let registered = data.register(client, hosts.end, deckies.end).await;
        registered.context("prepare the swarm")?;
        Ok(swarm)
    }

    pub(crate) fn id(&self) -> Result<u32> {
        self.process.id().context("the controller has ended")
    }

    /// Ends the controller with SIGKILL, and returns its data.
    pub(crate) async fn kill(mut self) -> Result<SwarmData> {
        self.process.kill().await?;
        Ok(self.data)
    }

    /// Ends the controller with SIGTERM, waits for it to exit, and returns its data.
    pub(crate) async fn stop(mut self) -> Result<SwarmData> {
        self.process.send_signal("TERM").await?;
        let status = self.process.wait_for_exit().await?;
        ensure!(status.success(), "the controller: {status}");
        Ok(self.data)
    }
}

impl SwarmData {
    /// Enrolls `hosts` hosts, and reports an inventory of `deckies` deckies for each of them.
    pub(crate) async fn register(
        &mut self,
        client: &Client,
        hosts: u32,
        deckies: u32,
    ) -> Result<()> {
        (self.hosts, self.deckies) = (hosts, deckies);
        stream::iter((0..hosts).map(Ok))
            .try_for_each_concurrent(MAX_CONCURRENT, async |host| {
                let id = host_id(host);
                let request = json!({ "name": id, "host_uuid": id });
                let _: EnrollAccepted = client.request(subjects::HOSTS_ENROLL, &request).await?;
                self.report_inventory(client, &id, 1).await
            })
            .await
    }

    /// Reports the inventory of every host again. `sequence` must be above the sequence number of
    /// every earlier report.
    pub(crate) async fn report_all_inventories(
        &self,
        client: &Client,
        sequence: u64,
    ) -> Result<()> {
        let hosts = (0..self.hosts).map(|host| Ok(host_id(host)));
        stream::iter(hosts)
            .try_for_each_concurrent(MAX_CONCURRENT, async |host| {
                self.report_inventory(client, &host, sequence).await
            })
            .await
    }

    /// Reports the inventory of a host, page by page.
    async fn report_inventory(&self, client: &Client, host: &HostId, sequence: u64) -> Result<()> {
        let deckies: Vec<String> = (0..self.deckies).map(decky_id).collect();
        let subject = AgentChannel::Heartbeat.subject(host);
        let pages = u32::try_from(deckies.len().div_ceil(DECKIES_PER_PAGE))?;
        for (page, deckies) in (1..).zip(deckies.chunks(DECKIES_PER_PAGE)) {
            let shards = deckies.iter().map(|decky| reported_shard(decky)).collect();
            let heartbeat = Heartbeat {
                page,
                pages,
                shards: Some(shards),
                ..heartbeat(host, self.boot, sequence)
            };
            let reply = report(client, &subject, &heartbeat).await?;
            ensure!(
                reply.accepted && !reply.stale && (page < pages || !reply.send_inventory),
                "the inventory of {host}: {reply:?}"
            );
        }
        Ok(())
    }
}

/// Sends a heartbeat. Sends the heartbeat again while the controller is overloaded, as an agent
/// does: the acknowledgements of a backlog of commands can take all of its capacity for reports.
async fn report(
    client: &Client,
    subject: &str,
    heartbeat: &Heartbeat,
) -> Result<HeartbeatAccepted> {
    loop {
        match client.request(subject, heartbeat).await {
            Err(RequestError::Rejected(Rejection {
                code: ErrorCode::Overloaded,
                ..
            })) => sleep(OVERLOADED_RETRY_DELAY).await,
            reply => return Ok(reply?),
        }
    }
}
