//! `docker`: teardowns on a real Docker Engine, compared with `docker compose down` and
//! `docker rm --force` of the same containers, and the cost of an idle agent.
//!
//! All containers run without a network, because the creation of networks takes far longer than
//! everything that is measured here.

mod deployment;
mod idle_agent;
mod removal;
mod waiting;

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use scuttle_tests::cluster::docker_host::DockerHost;
use scuttle_tests::faults::engine_proxy::EngineProxy;
use scuttle_tests::servers::dockerd::Daemon;

use crate::arguments::{DockerArgs, Options};
use crate::report::samples::{median, rotate};
use crate::report::summary::Report;
use crate::workloads::docker::deployment::{Behavior, Deployment, Layout};
use crate::workloads::docker::removal::{Method, Removal};

/// The maximum duration of an ignored SIGTERM's teardown beyond the grace period, in seconds.
const MAX_DELAY_S: f64 = 3.0;

pub(crate) async fn run(args: &DockerArgs, options: &Options) -> Result<ExitCode> {
    let mut daemon = Daemon::start().await?;
    daemon.silence();
    let proxy = EngineProxy::start(&daemon.socket())?;
    let mut stage = DockerHost::start(daemon, &[]).await?;
    stage.agent.kill().await?;
    stage.agent.quiet = true;
    for controller in &mut stage.cluster.controllers {
        controller.process().quiet = true;
    }
    let version = stage.cluster.operator.nats().server_info().version;
    let mut report = Report::new(options, &version);
    if !args.idle_only {
        let removals = measure_removals(&mut stage, args, options.rounds).await?;
        print_table(&report, &removals, args)?;
        expect_targets(&mut report, &removals, args)?;
        report.record("docker", &removals)?;
    }
    idle_agent::measure(&mut stage, &proxy, &mut report).await?;
    report.finish()
}

/// Deploys and removes the same containers with each method, in several rounds.
async fn measure_removals(
    stage: &mut DockerHost,
    args: &DockerArgs,
    rounds: u32,
) -> Result<Vec<Removal>> {
    let mut removals = Vec::new();
    for round in 0..rounds {
        for behavior in [Behavior::ObeysSigterm, Behavior::IgnoresSigterm] {
            for layout in [Layout::OneProject, Layout::ManyProjects] {
                let deployment = Deployment::new(layout, behavior);
                for method in rotate(&Method::list(&deployment), round) {
                    deployment.start(&stage.daemon).await?;
                    let seconds = method
                        .measure(stage, &deployment, args.grace_s)
                        .await
                        .with_context(|| format!("{method:?} of {deployment:?}"))?;
                    let left = stage.daemon.containers().await?;
                    ensure!(left.is_empty(), "{method:?} of {deployment:?} left {left}");
                    eprintln!("{round}: {layout:?}, {behavior:?}, {method:?}: {seconds:.2} s");
                    removals.push(Removal {
                        layout,
                        behavior,
                        method,
                        round,
                        seconds,
                    });
                }
            }
        }
    }
    Ok(removals)
}

/// Returns the times of a method, one for each round.
fn list_seconds(
    removals: &[Removal],
    layout: Layout,
    behavior: Behavior,
    method: Method,
) -> Vec<f64> {
    let is_selected = |removal: &&Removal| {
        (removal.layout, removal.behavior, removal.method) == (layout, behavior, method)
    };
    let selected = removals.iter().filter(is_selected);
    selected.map(|removal| removal.seconds).collect()
}

fn print_table(report: &Report, removals: &[Removal], args: &DockerArgs) -> Result<()> {
    report.print_line(&format!(
        "\nRemoval of all containers, grace period {} s: medians in seconds\n\n\
         {:<51} {:>14} {:>16}",
        args.grace_s, "", "SIGTERM obeyed", "SIGTERM ignored"
    ));
    for layout in [Layout::OneProject, Layout::ManyProjects] {
        for method in Method::ALL {
            let cell = |behavior| -> Result<String> {
                let seconds = list_seconds(removals, layout, behavior, method);
                if seconds.is_empty() {
                    return Ok(String::new());
                }
                Ok(format!("{:.2}", median(seconds)?))
            };
            let obeyed = cell(Behavior::ObeysSigterm)?;
            let ignored = cell(Behavior::IgnoresSigterm)?;
            if !(obeyed.is_empty() && ignored.is_empty()) {
                let (title, method) = (layout.title(), method.title());
                let line = format!("{title:<25} {method:<25} {obeyed:>14} {ignored:>16}");
                report.print_line(line.trim_end());
            }
        }
    }
    Ok(())
}

/// Adds the targets of the teardowns to the report.
fn expect_targets(report: &mut Report, removals: &[Removal], args: &DockerArgs) -> Result<()> {
    for behavior in [Behavior::ObeysSigterm, Behavior::IgnoresSigterm] {
        for (layout, method, figure, unit, bound) in [
            (
                Layout::OneProject,
                Method::ComposeDown,
                "one project",
                "× compose down",
                1.0,
            ),
            (
                Layout::ManyProjects,
                Method::ComposeDown,
                "20 projects",
                "× compose down, one by one",
                0.5,
            ),
            (
                Layout::ManyProjects,
                Method::ParallelComposeDown,
                "20 projects",
                "× compose down, in parallel",
                1.0,
            ),
            (
                Layout::OneProject,
                Method::ForcedRemoval,
                "one project",
                "× docker rm --force",
                0.9,
            ),
            (
                Layout::ManyProjects,
                Method::ForcedRemoval,
                "20 projects",
                "× docker rm --force",
                0.9,
            ),
        ] {
            let others = list_seconds(removals, layout, behavior, method);
            if others.is_empty() {
                continue;
            }
            let own = list_seconds(removals, layout, behavior, Method::Scuttle);
            let ratios = own.iter().zip(&others).map(|(own, other)| own / other);
            let figure = format!("teardown of {figure}, {}", behavior.title());
            report.expect_at_most(&figure, unit, bound, median(ratios.collect())?);
        }
    }
    let behavior = Behavior::IgnoresSigterm;
    for layout in [Layout::OneProject, Layout::ManyProjects] {
        let seconds = median(list_seconds(removals, layout, behavior, Method::Scuttle))?;
        let bound = f64::from(args.grace_s) + MAX_DELAY_S;
        let figure = format!("teardown of {}, {}", layout.title(), behavior.title());
        report.expect_at_most(&figure, "s", bound, seconds);
    }
    Ok(())
}
