//! The record follows Docker: what dies, what comes, and an Engine that is away.

use std::time::{Duration, Instant};

use anyhow::ensure;
use scuttle_tests::{TestResult, wait_until};

use crate::daemon::{Daemon, MANAGED, STUBBORN};
use crate::stage::Stage;

/// The heartbeats' own interval is ten times longer: only the Engine's events are as quick.
const SOON: Duration = Duration::from_secs(1);

/// A container that dies by itself makes its decky `degraded` within a second; what comes back or is new is seen too.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn a_death_is_on_the_record_within_a_second() -> TestResult {
    let daemon = Daemon::start().await?;
    daemon.run("trap", "one", &MANAGED, &STUBBORN).await?;
    daemon.run("trap", "two", &MANAGED, &STUBBORN).await?;
    let stage = Stage::on(daemon, &[]).await?;
    stage.states("trap running").await?;
    // The quickest of a few: the machine may be busy with something else.
    let mut quickest = Duration::MAX;
    for _ in 0..5 {
        stage.daemon.docker(&["kill", "two"]).await?;
        let dead = Instant::now();
        stage.states("trap degraded").await?;
        quickest = quickest.min(dead.elapsed());
        stage.daemon.docker(&["start", "two"]).await?;
        stage.states("trap running").await?;
    }
    ensure!(quickest < SOON, "the quickest took {quickest:?}");
    stage.daemon.docker(&["kill", "one", "two"]).await?;
    stage
        .daemon
        .run("snare", "three", &MANAGED, &STUBBORN)
        .await?;
    stage.states("snare running, trap degraded").await
}

/// An Engine that hangs is none: the inventory of before is not told as if it were true now.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn a_frozen_engine_is_noticed() -> TestResult {
    let daemon = Daemon::start().await?;
    daemon.run("trap", "bait", &MANAGED, &STUBBORN).await?;
    let mut stage = Stage::on(daemon, &["--heartbeat-ms", "300"]).await?;
    stage.states("trap running").await?;
    stage.daemon.freeze().await?;
    stage
        .agent
        .wait_for_line("cannot read the inventory")
        .await?;
    stage.daemon.thaw().await?;
    stage.daemon.docker(&["kill", "bait"]).await?;
    stage.states("trap degraded").await
}

/// Without an Engine the agent goes on, its heartbeats leave the shards out, and operators see why; when the Engine is
/// back, what happened meanwhile is seen.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn an_absent_engine_is_no_empty_host() -> TestResult {
    let daemon = Daemon::start().await?;
    daemon.run("trap", "bait", &MANAGED, &STUBBORN).await?;
    let mut stage = Stage::on(daemon, &["--heartbeat-ms", "300"]).await?;
    stage.states("trap running").await?;
    stage.daemon.stop().await?;
    stage
        .agent
        .wait_for_line("cannot read the inventory")
        .await?;
    let then = stage
        .cluster
        .operator
        .host(stage.host())
        .await?
        .last_heartbeat;
    let (operator, id) = (&stage.cluster.operator, stage.host().clone());
    let host = || operator.host(&id);
    wait_until("heartbeats go on", host, |host| host.last_heartbeat > then).await?;
    wait_until("the host's record says why", host, |host| {
        let why = host.inventory_error.as_ref();
        why.is_some_and(|why| why.as_str().contains("docker.sock"))
    })
    .await?;
    stage.states("trap running").await?;
    let log = stage.agent.log();
    let told = log.matches("cannot read the inventory").count();
    ensure!(
        told <= 2 && log.contains("docker.sock"),
        "told {told} times:\n{log}"
    );

    stage.daemon.resume().await?;
    stage.states("trap degraded").await?;
    wait_until("the host is well", host, |host| {
        host.inventory_error.is_none()
    })
    .await?;
    Ok(())
}
