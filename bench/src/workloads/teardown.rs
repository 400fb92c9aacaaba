//! `teardown`: complete teardowns per second, from the request to the broadcast that the decky is
//! gone, on simulated hosts that remove a decky immediately.
//!
//! The agents are real. A thousand agents run in the simulator's process, which shares the cores
//! with the other processes.

use std::time::Duration;

use anyhow::{Context, Result};
use scuttle_schemas::subjects;
use scuttle_tests::programs::process::Process;
use scuttle_tests::programs::program_command;

use crate::baselines::echo;
use crate::baselines::echo::ServiceProcess;
use crate::environment::shared::Environment;
use crate::environment::swarm::RunningSwarm;
use crate::load::spec::{Pace, RequestKind};
use crate::report::samples::{Sample, Samples, Series, rotate};
use crate::report::summary::Report;

const NAME: &str = "complete teardown";

const HOSTS: u32 = 1_000;
/// The number of deckies on each host. It is large enough for a round on the fastest machine, and
/// small enough for a small inventory.
const DECKIES: u32 = 20;
/// The heartbeat interval in milliseconds. It is an hour, so that agents send only the heartbeats
/// that a teardown causes.
const HEARTBEAT_MS: u32 = 3_600_000;

const ECHO: Series = Series::new(echo::NAME, 256);
/// The series of complete teardowns. It has one request in flight for each host, because a host
/// performs its teardowns one at a time.
const TEARDOWN: Series = Series::new(NAME, 1_000);

/// The duration of the measurement in a round. A single teardown takes a large part of a second.
const DURATION: Duration = Duration::from_secs(2);

pub(crate) async fn run(environment: &mut Environment, report: &mut Report) -> Result<()> {
    let echo = ServiceProcess::start(environment, echo::NAME, &[]).await?;
    let mut samples = Samples::default();
    for round in 0..environment.options.rounds {
        for name in rotate(&[echo::NAME, NAME], round) {
            let sample = if name == NAME {
                measure(environment, round).await
            } else {
                echo::measure(&echo, environment, ECHO.in_flight, round).await
            };
            samples.0.push(sample.with_context(|| name)?);
        }
    }
    let title = format!(
        "Complete teardowns on {HOSTS} simulated hosts, from the request to the broadcast of the removal"
    );
    report.print_table(&title, &samples, &[ECHO, TEARDOWN])?;
    let agents = samples.median(TEARDOWN, |sample| {
        sample.cpu_us.and_then(|cpu| cpu.agents).unwrap_or(f64::NAN)
    })?;
    report.print_line(&format!(
        "\nThe {HOSTS} agents: {agents:.0} CPU µs per teardown"
    ));
    let ratio = samples.paired_median(TEARDOWN, ECHO, |teardown, echo| {
        teardown.per_second / echo.per_second
    })?;
    report.expect_at_least("complete teardowns/s, 1,000 hosts", "× echo/s", 0.15, ratio);
    report.record("teardown", &samples)
}

/// Measures complete teardowns with a new controller and new hosts.
async fn measure(environment: &mut Environment, round: u32) -> Result<Sample> {
    let mut swarm = RunningSwarm::start_empty(environment).await?;
    let agents = start_agents(environment).await?;
    (swarm.data.hosts, swarm.data.deckies) = (HOSTS, DECKIES);
    let mut load = environment.load(
        RequestKind::Teardown,
        subjects::TEARDOWN,
        swarm.data.targets(),
        Pace::InFlight(TEARDOWN.in_flight),
    )?;
    load.millis = DURATION.as_millis() as u64;
    load.watch
        .push(agents.id().context("the simulator has ended")?);
    environment.run(load, swarm.id()?, TEARDOWN, round).await
}

/// Starts the simulator, and waits until the controller has every inventory.
async fn start_agents(environment: &Environment) -> Result<Process> {
    let mut command = program_command("scuttle-agent-sim");
    command.args(["--enroll", "--host-prefix", "bench", "--teardown-ms", "0"]);
    command.args(["--nats-url", &environment.server.url]);
    for (flag, number) in [
        ("--hosts", HOSTS),
        ("--deckies-per-host", DECKIES),
        ("--heartbeat-ms", HEARTBEAT_MS),
    ] {
        command.args([flag, &number.to_string()]);
    }
    let mut process = Process::spawn("the simulator", command, &environment.log("agents"))?;
    process.wait_for_line("ready:").await?;
    process.quiet = true;
    Ok(process)
}
