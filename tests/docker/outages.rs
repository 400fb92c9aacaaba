//! What is killed in the middle of a teardown, and comes back.

use scuttle_schemas::OperationId;
use scuttle_tests::TestResult;

use crate::daemon::{Daemon, MANAGED, STUBBORN};
use crate::stage::Stage;

const ALWAYS: [&str; 4] = ["--label", "scuttle.managed=true", "--restart", "always"];

/// Two deckies that take their time to stop. One would be brought back by its policy when dockerd is.
async fn slow() -> anyhow::Result<Stage> {
    let daemon = Daemon::start().await?;
    let label = "com.docker.compose.project=trap";
    daemon
        .docker(&["network", "create", "--label", label, "trap_default"])
        .await?;
    let flags = [&ALWAYS[..], &["--network", "trap_default"]].concat();
    daemon.run("trap", "one", &flags, &STUBBORN).await?;
    daemon.run("trap", "two", &MANAGED, &STUBBORN).await?;
    daemon.run("snare", "three", &MANAGED, &STUBBORN).await?;
    let stage = Stage::on(daemon, &["--grace-s", "4", "--parallel", "2"]).await?;
    stage.states("snare running, trap running").await?;
    Ok(stage)
}

/// What was done was done in the middle of it.
async fn is_amid(stage: &Stage, id: OperationId) -> TestResult {
    let operation = stage.cluster.operator.operation(id).await?;
    anyhow::ensure!(operation.finished_at.is_none(), "{operation:?}");
    Ok(())
}

async fn all_gone(stage: &Stage) -> TestResult {
    stage.states("").await?;
    assert_eq!(stage.daemon.containers().await?, "");
    assert_eq!(stage.daemon.networks().await?, "");
    Ok(())
}

/// dockerd, which has ended amid the teardown, comes back: the teardown has waited for it.
async fn dockerd_comes_back(mut stage: Stage, id: OperationId) -> TestResult {
    is_amid(&stage, id).await?;
    stage.daemon.resume().await?;
    stage.succeeded(id).await?;
    all_gone(&stage).await
}

/// Stopped, as its service manager would: it ends the containers.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn dockerd_is_stopped_amid_a_teardown() -> TestResult {
    let mut stage = slow().await?;
    let id = stage.begin(None).await?;
    stage.daemon.stop().await?;
    dockerd_comes_back(stage, id).await
}

/// Killed (SIGKILL): the containers go on without it.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn dockerd_is_killed_amid_a_teardown() -> TestResult {
    let mut stage = slow().await?;
    let id = stage.begin(None).await?;
    stage.daemon.kill().await?;
    dockerd_comes_back(stage, id).await
}

/// The agent is killed (SIGKILL) and started: the ledger has the command, and its result is reported.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn the_agent_is_killed_amid_a_teardown() -> TestResult {
    let mut stage = slow().await?;
    let id = stage.begin(None).await?;
    stage.agent.kill().await?;
    is_amid(&stage, id).await?;
    stage.agent = stage.plan.start()?;
    stage.succeeded(id).await?;
    assert!(stage.agent.log().contains("resumed=true"));
    all_gone(&stage).await
}

/// The agent is told to stop amid a teardown, and does so at once; the next start ends it.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn the_agent_is_stopped_amid_a_teardown() -> TestResult {
    let mut stage = slow().await?;
    let id = stage.begin("trap").await?;
    stage.agent.send_signal("TERM").await?;
    let ended = stage.agent.wait_for_exit().await?;
    assert!(ended.success(), "{ended}");
    is_amid(&stage, id).await?;
    stage.agent = stage.plan.start()?;
    stage.succeeded(id).await?;
    stage.states("snare running").await?;
    assert_eq!(stage.daemon.containers().await?, "three");
    assert_eq!(stage.daemon.networks().await?, "");
    Ok(())
}
