//! `--wait`: what it shows on the way, how it ends, and what ends the waiting alone.

use anyhow::Result;
use scuttle_schemas::OperationId;
use scuttle_tests::programs::process::Process;
use scuttle_tests::{FakeAgent, Role, Swarm, TestResult, failed, removed};

use super::stage::Cli;

#[tokio::test]
async fn it_waits_until_all_is_removed() -> TestResult {
    let swarm = Swarm::start().await?;
    let mut agent = swarm.agent("worker-a", &["decky-01", "decky-02"]).await?;
    let cli = Cli::of(&swarm, Role::Operator)?;
    let words = ["teardown", "worker-a", "--yes", "--wait"];
    let (ended, done) = tokio::join!(cli.run(&words), async {
        let operation = agent.command().await?.operation_id;
        agent.succeed(operation, &["decky-01", "decky-02"]).await
    });
    done?;
    let ended = ended?;
    assert!(
        ended.err.contains("worker-a: ") && !ended.err.contains('\x1b'),
        "plain lines: {}",
        ended.err
    );
    let shown = ended.done()?;
    assert!(
        shown.contains("✓ succeeded") && shown.contains("2 removed"),
        "{shown}"
    );
    assert!(swarm.operator.shards().await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn it_says_what_failed_and_why() -> TestResult {
    let swarm = Swarm::start().await?;
    let mut agent = swarm.agent("worker-a", &["decky-01", "decky-02"]).await?;
    let cli = Cli::of(&swarm, Role::Operator)?;
    let both = vec![removed("decky-01"), failed("decky-02", "container busy")];
    let words = ["teardown", "worker-a", "--yes", "--wait"];
    let (ended, done) = tokio::join!(cli.run(&words), async {
        let operation = agent.command().await?.operation_id;
        agent.fail(operation, "one decky is left", both).await
    });
    done?;
    let ended = ended?;
    assert_eq!(ended.code, 1, "{ended:?}");
    for part in [
        "✗ failed",
        "1 removed, 1 failed",
        "one decky is left",
        "decky-02",
        "container busy",
    ] {
        assert!(ended.out.contains(part), "{part:?} is in\n{}", ended.out);
    }
    let words = ["teardown", "worker-a", "--decky", "decky-02", "--wait"];
    let (answer, done) = tokio::join!(cli.json(&words, 1, "cli/teardowns"), async {
        let operation = agent.command().await?.operation_id;
        agent
            .fail(operation, "busy", vec![failed("decky-02", "busy")])
            .await
    });
    done?;
    assert_eq!(answer?["teardowns"][0]["operation"]["state"], "failed");
    Ok(())
}

#[tokio::test]
async fn it_ends_when_the_time_is_over() -> TestResult {
    let swarm = Swarm::start().await?;
    swarm.host("worker-a").await?;
    let cli = Cli::of(&swarm, Role::Operator)?;
    let mut agent = FakeAgent::connect(&swarm.nats, &swarm.host("worker-a").await?).await?;
    agent.report(&["decky-01"]).await?;
    let words = [
        "teardown",
        "worker-a",
        "--decky",
        "decky-01",
        "--wait",
        "--timeout",
        "1s",
    ];
    let ended = cli.run(&words).await?;
    assert_eq!(ended.code, 5, "{ended:?}");
    assert!(
        ended.out.contains("! timed out") && ended.out.contains("undelivered"),
        "{ended:?}"
    );
    Ok(())
}

/// Starts a teardown of one decky that waits, and gives it once it has shown that its agent is at work.
async fn waiting(cli: &Cli, agent: &mut FakeAgent) -> Result<(Process, OperationId)> {
    let words = ["teardown", "worker-a", "--decky", "decky-01", "--wait"];
    let mut process = cli.start(&words)?;
    process.line("queued").await?;
    let operation = agent.command().await?.operation_id;
    Ok((process, operation))
}

#[tokio::test]
async fn ctrl_c_ends_the_waiting_and_not_the_teardown() -> TestResult {
    let swarm = Swarm::start().await?;
    let mut agent = swarm.agent("worker-a", &["decky-01"]).await?;
    let cli = Cli::of(&swarm, Role::Operator)?;
    let (mut process, operation) = waiting(&cli, &mut agent).await?;
    process.signal("INT").await?;
    assert_eq!(process.exit().await?.code(), Some(130));
    let log = process.log();
    assert!(
        log.contains("the teardown continues") && log.contains(&format!("scuttle op {operation}")),
        "{log}"
    );
    agent.succeed(operation, &["decky-01"]).await?;
    assert!(swarm.operator.ended(operation).await?.error.is_none());
    Ok(())
}

#[tokio::test]
async fn it_outlives_the_controller_and_the_server() -> TestResult {
    let mut swarm = Swarm::start().await?;
    let mut agent = swarm.agent("worker-a", &["decky-01"]).await?;
    let cli = Cli::of(&swarm, Role::Operator)?;
    let (mut process, operation) = waiting(&cli, &mut agent).await?;
    swarm.crash_controller().await?;
    swarm.nats.kill().await?;
    process.line("the teardown continues").await?;
    swarm.nats.restart().await?;
    swarm.operator.answered().await?;
    let mut agent = FakeAgent::connect(&swarm.nats, &agent.host).await?;
    agent.succeed(operation, &["decky-01"]).await?;
    assert_eq!(process.exit().await?.code(), Some(0), "{}", process.log());
    assert!(process.log().contains("✓ succeeded"), "{}", process.log());
    Ok(())
}
