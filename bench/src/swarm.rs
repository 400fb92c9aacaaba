//! A real controller on a data directory of its own, and as many shards as are asked for.
//!
//! Its hosts' agents are heard once and then say nothing: no command is answered, so nothing but accepts (and what the
//! controller does by itself meanwhile, sending commands again included) is in the measurement.

use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::{TryStreamExt, stream};
use scuttle_controller::store::FILE_NAME;
use scuttle_schemas::agents::{Heartbeat, HeartbeatAccepted};
use scuttle_schemas::hosts::EnrollAccepted;
use scuttle_schemas::subjects::{self, AgentChannel};
use scuttle_schemas::{BootId, HostId};
use scuttle_tests::programs::process::Process;
use scuttle_tests::{Client, Controller, reported};
use serde_json::json;
use tempfile::TempDir;
use uuid::Uuid;

use crate::load::{Targets, What, decky_id, heartbeat, host_id};
use crate::stage::Stage;

/// Deckies on one page of an inventory: well below 256 KiB.
const PAGE: usize = 2048;
/// How long a start may take.
const START: Duration = Duration::from_mins(2);
/// Hosts that are prepared at the same time.
const CONCURRENT: usize = 64;

/// What a controller has on record, while none runs. Dropping it removes it.
pub(crate) struct Stored {
    pub(crate) hosts: u32,
    pub(crate) deckies: u32,
    boot: BootId,
    dir: TempDir,
}

/// A controller that runs. Dropping it kills it.
pub(crate) struct Swarm {
    pub(crate) stored: Stored,
    pub(crate) process: Process,
}

impl Stored {
    /// Nothing yet.
    pub(crate) fn nothing(stage: &Stage) -> Result<Self> {
        Ok(Self {
            hosts: 0,
            deckies: 0,
            boot: BootId(Uuid::now_v7()),
            dir: tempfile::tempdir_in(stage.dir())?,
        })
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.dir.path().join("controller")
    }

    /// Starts a controller on it, and waits until it answers.
    pub(crate) async fn start(self, stage: &Stage) -> Result<Swarm> {
        let mut command = Controller::command();
        command.args(["--nats-url", &stage.server.url, "--data-dir"]);
        command.arg(self.data_dir());
        let log = stage.log("controller");
        let begun = Instant::now();
        let mut process = Process::spawn("the controller", command, &log)?;
        // A million shards may take longer than a test would wait.
        while let Err(error) = stage.client.answered().await {
            process.alive()?;
            ensure!(begun.elapsed() < START, "{error:#}");
        }
        process.quiet = true;
        Ok(Swarm {
            stored: self,
            process,
        })
    }

    /// The same once more, on the disk.
    pub(crate) fn copy(&self, stage: &Stage) -> Result<Self> {
        let copy = Self {
            dir: tempfile::tempdir_in(stage.dir())?,
            ..*self
        };
        std::fs::create_dir(copy.data_dir())?;
        let (from, to) = (self.data_dir(), copy.data_dir());
        std::fs::copy(from.join(FILE_NAME), to.join(FILE_NAME))
            .and_then(|_| File::open(to.join(FILE_NAME))?.sync_all())
            .with_context(|| format!("copy {}", from.display()))?;
        Ok(copy)
    }

    /// Every decky.
    pub(crate) fn targets(&self) -> Targets {
        Targets {
            hosts: 0..self.hosts,
            deckies: 0..self.deckies,
            skip: 0,
        }
    }

    /// What its agents say when nothing has changed, from this number on.
    pub(crate) fn heartbeats(&self, sequence: u64) -> What {
        What::Heard {
            boot: self.boot,
            sequence,
        }
    }
}

impl Swarm {
    /// A controller with nothing on record.
    pub(crate) async fn empty(stage: &Stage) -> Result<Self> {
        Stored::nothing(stage)?.start(stage).await
    }

    /// A controller with at least so many shards, on as few hosts as can be.
    pub(crate) async fn with_shards(stage: &Stage, shards: usize) -> Result<Self> {
        let Targets { hosts, deckies, .. } = Targets::at_least(shards);
        let mut swarm = Self::empty(stage).await?;
        let (stored, client) = (&mut swarm.stored, &stage.client);
        let registered = stored.register(client, hosts.end, deckies.end).await;
        registered.context("prepare the swarm")?;
        Ok(swarm)
    }

    pub(crate) fn id(&self) -> Result<u32> {
        self.process.id().context("the controller has ended")
    }

    /// Kills it (SIGKILL).
    pub(crate) async fn kill(mut self) -> Result<Stored> {
        self.process.kill().await?;
        Ok(self.stored)
    }

    /// Ends it in order.
    pub(crate) async fn stop(mut self) -> Result<Stored> {
        self.process.signal("TERM").await?;
        let status = self.process.exit().await?;
        ensure!(status.success(), "the controller: {status}");
        Ok(self.stored)
    }
}

impl Stored {
    /// Enrols so many hosts, and reports so many deckies on each.
    pub(crate) async fn register(
        &mut self,
        client: &Client,
        hosts: u32,
        deckies: u32,
    ) -> Result<()> {
        (self.hosts, self.deckies) = (hosts, deckies);
        stream::iter((0..hosts).map(Ok))
            .try_for_each_concurrent(CONCURRENT, async |host| {
                let id = host_id(host);
                let request = json!({ "name": id, "host_uuid": id });
                let _: EnrollAccepted = client.ask(subjects::HOSTS_ENROLL, &request).await?;
                self.report(client, &id, 1).await
            })
            .await
    }

    /// Has every host report its deckies again.
    pub(crate) async fn report_all(&self, client: &Client, sequence: u64) -> Result<()> {
        let hosts = (0..self.hosts).map(|host| Ok(host_id(host)));
        stream::iter(hosts)
            .try_for_each_concurrent(CONCURRENT, async |host| {
                self.report(client, &host, sequence).await
            })
            .await
    }

    /// One host's inventory, page by page.
    async fn report(&self, client: &Client, host: &HostId, sequence: u64) -> Result<()> {
        let deckies: Vec<String> = (0..self.deckies).map(decky_id).collect();
        let subject = AgentChannel::Heartbeat.subject(host);
        let pages = u32::try_from(deckies.len().div_ceil(PAGE))?;
        for (page, deckies) in (1..).zip(deckies.chunks(PAGE)) {
            let shards = deckies.iter().map(|decky| reported(decky)).collect();
            let heartbeat = Heartbeat {
                page,
                pages,
                shards: Some(shards),
                ..heartbeat(host, self.boot, sequence)
            };
            let answer: HeartbeatAccepted = client.ask(&subject, &heartbeat).await?;
            ensure!(
                answer.accepted && !answer.stale && (page < pages || !answer.send_inventory),
                "the inventory of {host}: {answer:?}"
            );
        }
        Ok(())
    }
}
