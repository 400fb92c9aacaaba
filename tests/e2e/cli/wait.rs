//! `--wait`: the progress, the results, and interruptions.

use anyhow::Result;
use scuttle_schemas::OperationId;
use scuttle_tests::programs::process::Process;
use scuttle_tests::{FakeAgent, Role, Swarm, TestResult, failed, removed};

use super::cli_runner::Cli;

#[tokio::test]
async fn wait_ends_when_all_deckies_are_removed() -> TestResult {
    let swarm = Swarm::start().await?;
    let mut agent = swarm.agent("worker-a", &["decky-01", "decky-02"]).await?;
    let cli = Cli::with_role(&swarm, Role::Operator)?;
    let arguments = ["teardown", "worker-a", "--yes", "--wait"];
    let (ended, done) = tokio::join!(cli.run(&arguments), async {
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
async fn wait_reports_the_failed_deckies_and_their_errors() -> TestResult {
    let swarm = Swarm::start().await?;
    let mut agent = swarm.agent("worker-a", &["decky-01", "decky-02"]).await?;
    let cli = Cli::with_role(&swarm, Role::Operator)?;
    let both = vec![removed("decky-01"), failed("decky-02", "container busy")];
    let arguments = ["teardown", "worker-a", "--yes", "--wait"];
    let (ended, done) = tokio::join!(cli.run(&arguments), async {
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
    let arguments = ["teardown", "worker-a", "--decky", "decky-02", "--wait"];
    let (answer, done) = tokio::join!(cli.run_json(&arguments, 1, "cli/teardowns"), async {
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
async fn wait_ends_when_the_operation_times_out() -> TestResult {
    let swarm = Swarm::start().await?;
    swarm.host("worker-a").await?;
    let cli = Cli::with_role(&swarm, Role::Operator)?;
    let mut agent = FakeAgent::connect(&swarm.nats, &swarm.host("worker-a").await?).await?;
    agent.report(&["decky-01"]).await?;
    let arguments = [
        "teardown",
        "worker-a",
        "--decky",
        "decky-01",
        "--wait",
        "--timeout",
        "1s",
    ];
    let ended = cli.run(&arguments).await?;
    assert_eq!(ended.code, 5, "{ended:?}");
    assert!(
        ended.out.contains("! timed out") && ended.out.contains("undelivered"),
        "{ended:?}"
    );
    Ok(())
}

/// Starts a teardown of one decky with `--wait`. Returns the process and the operation when the
/// agent has received the command.
async fn start_waiting(cli: &Cli, agent: &mut FakeAgent) -> Result<(Process, OperationId)> {
    let arguments = ["teardown", "worker-a", "--decky", "decky-01", "--wait"];
    let mut process = cli.start(&arguments)?;
    process.line("queued").await?;
    let operation = agent.command().await?.operation_id;
    Ok((process, operation))
}

#[tokio::test]
async fn ctrl_c_stops_waiting_and_leaves_the_teardown_running() -> TestResult {
    let swarm = Swarm::start().await?;
    let mut agent = swarm.agent("worker-a", &["decky-01"]).await?;
    let cli = Cli::with_role(&swarm, Role::Operator)?;
    let (mut process, operation) = start_waiting(&cli, &mut agent).await?;
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
async fn wait_survives_restarts_of_the_controller_and_the_server() -> TestResult {
    let mut swarm = Swarm::start().await?;
    let mut agent = swarm.agent("worker-a", &["decky-01"]).await?;
    let cli = Cli::with_role(&swarm, Role::Operator)?;
    let (mut process, operation) = start_waiting(&cli, &mut agent).await?;
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
