//! Outages of dockerd or of the agent during a teardown.

use scuttle_schemas::OperationId;
use scuttle_tests::TestResult;
use scuttle_tests::cluster::docker_host::DockerHost;
use scuttle_tests::servers::dockerd::{Daemon, IGNORES_SIGTERM, MANAGED};

const MANAGED_AND_RESTARTED: [&str; 4] = ["--label", "scuttle.managed=true", "--restart", "always"];

/// Starts a host with two deckies, whose three containers take a long time to stop. One of the
/// containers has a restart policy, so dockerd starts it again when dockerd itself starts.
async fn start_slow_deckies() -> anyhow::Result<DockerHost> {
    let daemon = Daemon::start().await?;
    daemon.create_network("trap", "trap_default", &[]).await?;
    let flags = [&MANAGED_AND_RESTARTED[..], &["--network", "trap_default"]].concat();
    daemon.run("trap", "one", &flags, &IGNORES_SIGTERM).await?;
    daemon
        .run("trap", "two", &MANAGED, &IGNORES_SIGTERM)
        .await?;
    daemon
        .run("snare", "three", &MANAGED, &IGNORES_SIGTERM)
        .await?;
    let stage = DockerHost::start(daemon, &["--grace-s", "4", "--parallel", "2"]).await?;
    stage.wait_for_states("snare running, trap running").await?;
    Ok(stage)
}

/// Checks that the operation has not ended, so that the outage happened during it.
async fn check_running(stage: &DockerHost, id: OperationId) -> TestResult {
    let operation = stage.cluster.operator.operation(id).await?;
    anyhow::ensure!(operation.finished_at.is_none(), "{operation:?}");
    Ok(())
}

/// Starts dockerd again after an outage. Checks that the teardown was still running, and that it
/// then succeeds.
async fn restart_dockerd_and_check(mut stage: DockerHost, id: OperationId) -> TestResult {
    check_running(&stage, id).await?;
    stage.daemon.resume().await?;
    stage.wait_for_success(id).await?;
    stage.check_all_removed().await
}

/// On SIGTERM, dockerd ends its containers before it exits.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn a_teardown_continues_after_dockerd_was_stopped() -> TestResult {
    let mut stage = start_slow_deckies().await?;
    let id = stage.start_teardown(None).await?;
    stage.daemon.stop().await?;
    restart_dockerd_and_check(stage, id).await
}

/// After SIGKILL, the containers continue to run without dockerd.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn a_teardown_continues_after_dockerd_was_killed() -> TestResult {
    let mut stage = start_slow_deckies().await?;
    let id = stage.start_teardown(None).await?;
    stage.daemon.kill().await?;
    restart_dockerd_and_check(stage, id).await
}

/// The command is in the agent's ledger, so the restarted agent finishes the teardown and reports
/// the result.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn a_teardown_continues_after_the_agent_was_killed() -> TestResult {
    let mut stage = start_slow_deckies().await?;
    let id = stage.start_teardown(None).await?;
    stage.agent.kill().await?;
    check_running(&stage, id).await?;
    stage.agent = stage.plan.start()?;
    stage.wait_for_success(id).await?;
    assert!(stage.agent.log().contains("resumed=true"));
    stage.check_all_removed().await
}

/// On SIGTERM, the agent stops without finishing the teardown. It finishes the teardown after its
/// next start.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn a_teardown_continues_after_the_agent_was_stopped() -> TestResult {
    let mut stage = start_slow_deckies().await?;
    let id = stage.start_teardown("trap").await?;
    stage.agent.send_signal("TERM").await?;
    let ended = stage.agent.wait_for_exit().await?;
    assert!(ended.success(), "{ended}");
    check_running(&stage, id).await?;
    stage.agent = stage.plan.start()?;
    stage.wait_for_success(id).await?;
    stage.wait_for_states("snare running").await?;
    assert_eq!(stage.daemon.containers().await?, "three");
    assert_eq!(stage.daemon.networks().await?, "");
    Ok(())
}
