//! `teardown`: whole teardowns a second, from the request to the broadcast that the decky is gone, on simulated hosts that
//! remove a decky at once.
//!
//! The agents are the real ones, a thousand of them in the simulator's process, which shares the processors with all else.

use std::time::Duration;

use anyhow::{Context, Result};
use scuttle_schemas::subjects;
use scuttle_tests::programs::bare;
use scuttle_tests::programs::process::Process;

use crate::echo::{self, Own};
use crate::load::{Pace, What};
use crate::report::Report;
use crate::samples::{Sample, Samples, turned};
use crate::stage::Stage;
use crate::swarm::Swarm;

const NAME: &str = "whole teardown";

const HOSTS: u32 = 1_000;
/// Deckies on each host: enough for the fastest machine's round, few enough that an inventory is small.
const DECKIES: u32 = 20;
/// Heartbeats an hour apart: what a teardown itself makes an agent say is all that it says.
const HEARTBEAT_MS: u32 = 3_600_000;

/// How many are under way: as many as hosts, each of which does one after another.
const IN_FLIGHT: u16 = 1_000;
const ECHO_IN_FLIGHT: u16 = 256;

/// How long they are asked for: a teardown takes a good part of a second.
const TIME: Duration = Duration::from_secs(2);

/// Measures and reports.
pub(crate) async fn run(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let echo = Own::start(stage, echo::NAME, &[]).await?;
    let mut samples = Samples::default();
    for round in 0..stage.how.rounds {
        for name in turned(&[echo::NAME, NAME], round) {
            let sample = if name == NAME {
                ask(stage, round).await
            } else {
                echo::ask(&echo, stage, ECHO_IN_FLIGHT, round).await
            };
            samples.0.push(sample.with_context(|| name)?);
        }
    }
    let lines = [(echo::NAME, ECHO_IN_FLIGHT), (NAME, IN_FLIGHT)];
    let title = format!(
        "Whole teardowns on {HOSTS} simulated hosts, from the request to the broadcast of the removal"
    );
    report.table(&title, &samples, &lines)?;
    let agents = samples.median(lines[1], |sample| {
        sample.cpu_us.and_then(|cpu| cpu.agents).unwrap_or(f64::NAN)
    })?;
    report.say(&format!(
        "\nThe {HOSTS} agents themselves: {agents:.0} CPU µs a teardown"
    ));
    let ratio = samples.paired(lines[1], lines[0], |teardown, echo| {
        teardown.per_second / echo.per_second
    })?;
    report.at_least("whole teardowns/s, 1,000 hosts", "× echo/s", 0.15, ratio);
    report.keep("teardown", &samples)
}

/// Asks a new controller with new hosts.
async fn ask(stage: &mut Stage, round: u32) -> Result<Sample> {
    let mut swarm = Swarm::empty(stage).await?;
    let agents = agents(stage).await?;
    (swarm.stored.hosts, swarm.stored.deckies) = (HOSTS, DECKIES);
    let pace = Pace::InFlight(IN_FLIGHT);
    let mut order = stage.order(
        What::Removed,
        subjects::TEARDOWN,
        swarm.stored.targets(),
        pace,
    )?;
    order.millis = TIME.as_millis() as u64;
    order
        .watch
        .push(agents.id().context("the simulator has ended")?);
    stage
        .carry_out(order, swarm.id()?, (NAME, IN_FLIGHT, round))
        .await
}

/// The simulator, when the controller has every inventory.
async fn agents(stage: &Stage) -> Result<Process> {
    let mut command = bare("scuttle-agent-sim");
    command.args(["--enroll", "--host-prefix", "bench", "--teardown-ms", "0"]);
    command.args(["--nats-url", &stage.server.url]);
    for (flag, number) in [
        ("--hosts", HOSTS),
        ("--deckies-per-host", DECKIES),
        ("--heartbeat-ms", HEARTBEAT_MS),
    ] {
        command.args([flag, &number.to_string()]);
    }
    let mut process = Process::spawn("the simulator", command, &stage.log("agents"))?;
    process.line("ready:").await?;
    process.quiet = true;
    Ok(process)
}
