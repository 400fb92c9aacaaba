//! The cost of an agent on a host with 300 containers: processor time and memory while nothing
//! happens, and the number of complete listings during a burst of events.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use scuttle_tests::cluster::docker_host::DockerHost;
use scuttle_tests::faults::engine_proxy::{Call, EngineProxy};
use serde_json::json;

use crate::load::cpu_time;
use crate::report::summary::Report;
use crate::workloads::docker::deployment::Deployment;
use crate::workloads::docker::waiting::wait_for_deckies;

/// The number of deckies. Each has three containers.
const DECKIES: usize = 100;
/// The time over which the processor time of the idle agent is measured.
const IDLE_TIME: Duration = Duration::from_secs(20);
const KIB_PER_MIB: f64 = 1024.0;

/// Starts the containers and the agent, and measures the agent.
pub(super) async fn measure(
    stage: &mut DockerHost,
    proxy: &EngineProxy,
    report: &mut Report,
) -> Result<()> {
    let deployment = Deployment::with_deckies(DECKIES);
    deployment.start(&stage.daemon).await?;
    let flags = deployment.layout.agent_flags().iter();
    stage.plan.flags = flags.map(ToString::to_string).collect();
    stage.plan.docker = proxy.host();
    stage.restart_agent().await?;
    stage.agent.quiet = true;
    wait_for_deckies(stage, DECKIES, "running").await?;

    let agent = stage.agent.id().context("the agent has ended")?;
    let (start, before) = (Instant::now(), cpu_time::of_process(agent)?);
    tokio::time::sleep(IDLE_TIME).await;
    let used = cpu_time::of_process(agent)?.saturating_sub(before);
    let share = used.as_secs_f64() / start.elapsed().as_secs_f64() * 100.0;
    let memory = stage.agent.resident_kib()? as f64 / KIB_PER_MIB;

    let containers = stage.daemon.containers().await?;
    let lists = proxy.count_calls(Call::lists_all_containers);
    let kill: Vec<_> = ["kill"].into_iter().chain(containers.split(' ')).collect();
    let start = Instant::now();
    stage.daemon.docker(&kill).await?;
    let burst = start.elapsed().as_secs_f64();
    wait_for_deckies(stage, DECKIES, "degraded").await?;
    let lists = proxy.count_calls(Call::lists_all_containers) - lists;

    report.print_line(&format!(
        "\nAn agent on a host with {} containers\n\n\
         idle for {} s: {share:.2} % of a core, {memory:.1} MiB\n\
         all containers die within {burst:.1} s: {lists} complete listings",
        3 * DECKIES,
        IDLE_TIME.as_secs()
    ));
    report.expect_at_most("idle agent, 300 containers", "% of a core", 1.0, share);
    report.expect_at_most("idle agent, 300 containers", "MiB", 40.0, memory);
    report.expect_at_most(
        "burst of 300 events",
        "complete listings",
        2.0,
        lists as f64,
    );
    let figures = json!({ "cpu_percent": share, "memory_mib": memory, "burst_lists": lists });
    report.record("docker_idle", &figures)?;
    let remove = [&["rm", "--force"][..], &kill[1..]].concat();
    stage.daemon.docker(&remove).await.map(drop)
}
