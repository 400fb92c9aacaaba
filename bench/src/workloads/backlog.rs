//! `backlog`: 300,000 open operations on 1,000 hosts whose agents acknowledge their commands and
//! then stay silent. Compares the accepted teardowns per second with and without the backlog, and
//! measures what an idle controller costs while the hosts are offline and while they are online.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::StreamExt;
use scuttle_schemas::agents::{
    AgentCommand, Heartbeat, HeartbeatAccepted, ProgressStep, TeardownProgress,
    TeardownProgressType,
};
use scuttle_schemas::hosts::{HostStatus, HostsList};
use scuttle_schemas::subjects::{self, AgentChannel};
use scuttle_schemas::{BootId, OperationId, read};
use scuttle_tests::Client;
use serde::Serialize;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::environment::shared::Environment;
use crate::environment::swarm::{RunningSwarm, SwarmData};
use crate::load::cpu_time;
use crate::load::spec::{LoadSpec, Pace, RequestKind, Targets, heartbeat, host_id};
use crate::report::samples::{Samples, Series, median};
use crate::report::summary::Report;
use crate::workloads::scale::store;

const HOSTS: u32 = 1_000;
/// The number of open operations on each host in the backlog.
const OPEN_PER_HOST: u32 = 300;
/// The number of further deckies on each host, for the teardowns that are measured.
const SPARE_PER_HOST: u32 = 100;
/// The rate at which 1,000 hosts with the default interval of 10 s send heartbeats.
const HEARTBEATS_PER_SECOND: u32 = 100;
/// The duration of each measurement of an idle controller.
const IDLE: Duration = Duration::from_secs(10);
/// The duration without a command after which every command counts as acknowledged.
const QUIET: Duration = Duration::from_secs(5);
const MAX_BUILD_MS: u64 = 600_000;

const WITHOUT: Series = Series::new("accept, no backlog", 256);
const WITH: Series = Series::new("accept, 300,000 open", 256);

/// The controller's CPU time as a fraction of one core, in one round.
#[derive(Debug, Serialize)]
struct IdleRound {
    /// With the backlog, while all hosts are offline.
    offline: f64,
    /// With the backlog, while all hosts are online and send heartbeats.
    online: f64,
    /// Without the backlog, while all hosts are online and send heartbeats.
    online_without: f64,
}

pub(crate) async fn run(environment: &mut Environment, report: &mut Report) -> Result<()> {
    report.print_line("\n300,000 open operations on 1,000 hosts\n");
    let (empty, full) = prepare(environment).await.context("prepare the backlog")?;
    let (mut samples, mut idle) = (Samples::default(), Vec::new());
    for round in 0..environment.options.rounds {
        let swarm = empty.copy(environment)?.start(environment).await?;
        let agents = bring_online(environment, &swarm).await?;
        let online_without = idle_share(environment, &swarm, true).await?;
        let load = accept(environment, 0)?;
        let sample = environment.run(load, swarm.id()?, WITHOUT, round).await?;
        samples.0.push(sample);
        agents.abort();
        drop(swarm);

        let swarm = full.copy(environment)?.start(environment).await?;
        let offline = idle_share(environment, &swarm, false).await?;
        let agents = bring_online(environment, &swarm).await?;
        let online = idle_share(environment, &swarm, true).await?;
        let load = accept(environment, 0)?;
        let sample = environment.run(load, swarm.id()?, WITH, round).await?;
        samples.0.push(sample);
        agents.abort();
        idle.push(IdleRound {
            offline,
            online,
            online_without,
        });
    }
    show(report, &samples, &idle)
}

fn show(report: &mut Report, samples: &Samples, idle: &[IdleRound]) -> Result<()> {
    report.print_table(
        "Accepts with and without the backlog",
        samples,
        &[WITHOUT, WITH],
    )?;
    let ratio = samples.paired_median(WITH, WITHOUT, |with, without| {
        with.per_second / without.per_second
    })?;
    report.expect_at_least("accepts/s, 300,000 open", "× without a backlog", 0.9, ratio);
    let share = |figure: fn(&IdleRound) -> f64| median(idle.iter().map(figure).collect());
    let without = share(|round| round.online_without)?;
    report.print_line(&format!(
        "an idle controller without a backlog takes {:.1} % of a core for {HEARTBEATS_PER_SECOND} \
         heartbeats per second",
        without * 100.0
    ));
    let unit = "of one core in the controller";
    let offline = share(|round| round.offline)?;
    report.expect_at_most("idle, 300,000 open, hosts offline", unit, 0.03, offline);
    let online = share(|round| round.online)?;
    report.expect_at_most("idle, 300,000 open, hosts online", unit, 0.03, online);
    report.record("backlog_accepts", samples)?;
    report.record("backlog_idle", &idle)
}

/// Registers the hosts, and returns the data of two swarms in which all hosts are offline: one
/// without operations, and one with the backlog.
async fn prepare(environment: &mut Environment) -> Result<(SwarmData, SwarmData)> {
    let mut swarm = RunningSwarm::start_empty(environment).await?;
    let client = &environment.client;
    let deckies = SPARE_PER_HOST + OPEN_PER_HOST;
    swarm.data.register(client, HOSTS, deckies).await?;
    swarm.data.report_short_interval(client, 2).await?;
    wait_until_offline(client).await?;
    let empty = swarm.kill().await?;
    store::empty_journal(&empty.data_dir())?;

    let swarm = empty.copy(environment)?.start(environment).await?;
    let mut load = accept(environment, SPARE_PER_HOST)?;
    load.millis = MAX_BUILD_MS;
    let built = environment.generator.run(&load).await?;
    let expected = (HOSTS * OPEN_PER_HOST) as usize;
    ensure!(built.replies == expected, "{} accepts", built.replies);
    let full = swarm.kill().await?;
    store::empty_journal(&full.data_dir())?;
    Ok((empty, full))
}

/// Returns a load of teardown requests. If `first_decky` is 0, they are for the spare deckies of
/// each host, otherwise for the deckies of the backlog.
fn accept(environment: &Environment, first_decky: u32) -> Result<LoadSpec> {
    let last = if first_decky == 0 {
        SPARE_PER_HOST
    } else {
        SPARE_PER_HOST + OPEN_PER_HOST
    };
    let targets = Targets {
        hosts: 0..HOSTS,
        deckies: first_decky..last,
        skip: 0,
    };
    let pace = Pace::InFlight(WITH.in_flight);
    environment.load(RequestKind::Accept, subjects::TEARDOWN, targets, pace)
}

/// Returns the controller's CPU time as a fraction of one core while it gets no requests, with or
/// without heartbeats.
async fn idle_share(
    environment: &mut Environment,
    swarm: &RunningSwarm,
    heartbeats: bool,
) -> Result<f64> {
    if !heartbeats {
        // The work after the start is not measured.
        sleep(QUIET).await;
        let before = cpu_time::of_process(swarm.id()?)?;
        sleep(IDLE).await;
        let used = cpu_time::of_process(swarm.id()?)?.saturating_sub(before);
        return Ok(used.as_secs_f64() / IDLE.as_secs_f64());
    }
    let kind = swarm.data.heartbeats(4);
    let pace = Pace::PerSecond(HEARTBEATS_PER_SECOND);
    let mut load = environment.load(kind, "", swarm.data.targets(), pace)?;
    load.millis = IDLE.as_millis() as u64;
    load.watch.push(swarm.id()?);
    let outcome = environment.generator.run(&load).await?;
    Ok(outcome.cpu[2] / IDLE.as_secs_f64())
}

/// Brings all hosts online, and acknowledges their commands until the returned task is aborted.
/// Returns when the controller sends no more commands.
async fn bring_online(
    environment: &Environment,
    swarm: &RunningSwarm,
) -> Result<JoinHandle<Result<()>>> {
    let nats = environment.client.nats().clone();
    let mut commands = nats
        .subscribe(AgentChannel::Commands.wildcard_subject())
        .await?;
    nats.flush().await?;
    let boot = swarm.data.boot();
    let (acknowledged, mut last) = tokio::sync::watch::channel(());
    let agents = tokio::spawn(async move {
        while let Some(message) = commands.next().await {
            let AgentCommand::Teardown(command) = read("command", &message.payload)? else {
                continue;
            };
            let progress = received(command.operation_id, boot);
            let subject = AgentChannel::Progress.subject(&command.host_uuid);
            let payload = serde_json::to_vec(&progress)?;
            nats.publish(subject, payload.into()).await?;
            acknowledged.send_replace(());
        }
        Ok(())
    });
    swarm
        .data
        .report_all_inventories(&environment.client, 3)
        .await?;
    while timeout(QUIET, last.changed()).await.is_ok() {}
    Ok(agents)
}

fn received(operation_id: OperationId, boot_id: BootId) -> TeardownProgress {
    TeardownProgress {
        kind: TeardownProgressType,
        operation_id,
        boot_id,
        step: ProgressStep::Received,
        cancelled: false,
        decky_id: None,
        done: None,
        total: None,
    }
}

async fn wait_until_offline(client: &Client) -> Result<()> {
    loop {
        let list: HostsList = client
            .request(subjects::HOSTS_LIST, &json!({ "limit": HOSTS }))
            .await?;
        let mut hosts = list.hosts.iter();
        if hosts.all(|host| host.status == HostStatus::Offline) {
            return Ok(());
        }
        sleep(Duration::from_millis(500)).await;
    }
}

impl SwarmData {
    /// Sends one heartbeat for every host. Its interval is so short that the host goes offline
    /// soon.
    async fn report_short_interval(&self, client: &Client, sequence: u64) -> Result<()> {
        for host in (0..self.hosts).map(host_id) {
            let heartbeat = Heartbeat {
                interval_ms: 1_000,
                ..heartbeat(&host, self.boot(), sequence)
            };
            let subject = AgentChannel::Heartbeat.subject(&host);
            let _: HeartbeatAccepted = client.request(&subject, &heartbeat).await?;
        }
        Ok(())
    }
}
