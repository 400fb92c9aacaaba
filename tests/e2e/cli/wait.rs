//! The option `--wait`: its progress output, the results that it reports, and interruptions.

use anyhow::{Context, Result};
use scuttle_schemas::OperationId;
use scuttle_tests::programs::process::Process;
use scuttle_tests::{Cluster, FakeAgent, Role, TestResult, failed_shard, removed_shard};

use super::cli_runner::Cli;

#[tokio::test]
async fn wait_ends_when_all_deckies_are_removed() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster
        .start_agent("worker-a", &["decky-01", "decky-02"])
        .await?;
    let cli = Cli::with_role(&cluster, Role::Operator)?;
    let arguments = ["teardown", "worker-a", "--yes", "--wait"];
    let (ended, done) = tokio::join!(cli.run(&arguments), async {
        let operation = agent.next_command().await?.operation_id;
        agent
            .report_success(operation, &["decky-01", "decky-02"])
            .await
    });
    done?;
    let ended = ended?;
    assert!(
        ended.stderr.contains("worker-a: ") && !ended.stderr.contains('\x1b'),
        "plain lines: {}",
        ended.stderr
    );
    let shown = ended.expect_success()?;
    assert!(
        shown.contains("✓ succeeded") && shown.contains("2 removed"),
        "{shown}"
    );
    assert!(cluster.operator.list_shards().await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn wait_reports_the_failed_deckies_and_their_errors() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster
        .start_agent("worker-a", &["decky-01", "decky-02"])
        .await?;
    let cli = Cli::with_role(&cluster, Role::Operator)?;
    let both = vec![
        removed_shard("decky-01"),
        failed_shard("decky-02", "container busy"),
    ];
    let arguments = ["teardown", "worker-a", "--yes", "--wait"];
    let (ended, done) = tokio::join!(cli.run(&arguments), async {
        let operation = agent.next_command().await?.operation_id;
        agent
            .report_failure(operation, "one decky is left", both)
            .await
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
        assert!(
            ended.stdout.contains(part),
            "{part:?} is in\n{}",
            ended.stdout
        );
    }
    let arguments = ["teardown", "worker-a", "--decky", "decky-02", "--wait"];
    let (answer, done) = tokio::join!(cli.run_json(&arguments, 1, "cli/teardowns"), async {
        let operation = agent.next_command().await?.operation_id;
        agent
            .report_failure(operation, "busy", vec![failed_shard("decky-02", "busy")])
            .await
    });
    done?;
    assert_eq!(answer?["teardowns"][0]["operation"]["state"], "failed");
    Ok(())
}

#[tokio::test]
async fn wait_ends_when_the_operation_times_out() -> TestResult {
    let cluster = Cluster::start().await?;
    cluster.enroll_host("worker-a").await?;
    let cli = Cli::with_role(&cluster, Role::Operator)?;
    let mut agent =
        FakeAgent::connect(&cluster.servers[0], &cluster.enroll_host("worker-a").await?).await?;
    agent.report_inventory(&["decky-01"]).await?;
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
        ended.stdout.contains("! timed out") && ended.stdout.contains("never started it"),
        "{ended:?}"
    );
    Ok(())
}

/// Starts a teardown of `decky-01` with `--wait`. Returns the process and the operation as soon as
/// the agent has received the command.
async fn start_waiting(cli: &Cli, agent: &mut FakeAgent) -> Result<(Process, OperationId)> {
    let arguments = ["teardown", "worker-a", "--decky", "decky-01", "--wait"];
    let mut process = cli.start(&arguments)?;
    process.wait_for_line("queued").await?;
    let operation = agent.next_command().await?.operation_id;
    Ok((process, operation))
}

#[tokio::test]
async fn ctrl_c_stops_waiting_and_leaves_the_teardown_running() -> TestResult {
    check_signal("INT", 130).await
}

#[tokio::test]
async fn sigterm_stops_waiting_and_leaves_the_teardown_running() -> TestResult {
    check_signal("TERM", 143).await
}

/// Sends a signal to a command that waits. The command ends with this exit code, and the teardown
/// continues.
async fn check_signal(signal: &str, code: i32) -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster.start_agent("worker-a", &["decky-01"]).await?;
    let cli = Cli::with_role(&cluster, Role::Operator)?;
    let (mut process, operation) = start_waiting(&cli, &mut agent).await?;
    process.send_signal(signal).await?;
    assert_eq!(process.wait_for_exit().await?.code(), Some(code));
    let log = process.log();
    assert!(
        log.contains("the teardown continues") && log.contains(&format!("scuttle op {operation}")),
        "{log}"
    );
    agent.report_success(operation, &["decky-01"]).await?;
    assert!(
        cluster
            .operator
            .wait_for_end(operation)
            .await?
            .error
            .is_none()
    );
    Ok(())
}

#[tokio::test]
async fn wait_survives_restarts_of_the_controller_and_the_server() -> TestResult {
    let mut cluster = Cluster::start().await?;
    let mut agent = cluster.start_agent("worker-a", &["decky-01"]).await?;
    let cli = Cli::with_role(&cluster, Role::Operator)?;
    let (mut process, operation) = start_waiting(&cli, &mut agent).await?;
    cluster.crash_controller().await?;
    cluster.servers[0].kill().await?;
    process.wait_for_line("the teardown continues").await?;
    cluster.servers[0].restart().await?;
    cluster.wait_until_subscribed().await?;
    let mut agent = FakeAgent::connect(&cluster.servers[0], &agent.host).await?;
    agent.report_success(operation, &["decky-01"]).await?;
    assert_eq!(
        process.wait_for_exit().await?.code(),
        Some(0),
        "{}",
        process.log()
    );
    assert!(process.log().contains("✓ succeeded"), "{}", process.log());
    Ok(())
}

#[tokio::test]
async fn each_json_line_is_written_when_its_teardown_has_ended() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster
        .start_agent("worker-a", &["decky-01", "decky-02"])
        .await?;
    let cli = Cli::with_role(&cluster, Role::Operator)?;
    let arguments = "teardown worker-a --decky decky-01 --decky decky-02 --wait -o jsonl";
    let arguments: Vec<&str> = arguments.split(' ').collect();
    let mut process = cli.start(&arguments)?;
    let [one, other] = [agent.next_command().await?, agent.next_command().await?];
    for command in [one, other] {
        let decky = command.decky_id.context("a decky")?;
        let line = format!("{{\"host_uuid\":\"{}\"", agent.host);
        let lines = process.log().matches(&line).count();
        agent
            .report_success(command.operation_id, &[decky.as_str()])
            .await?;
        let ended = format!("\"decky_id\":\"{decky}\",\"accepted\"");
        process.wait_for_line(&ended).await?;
        assert_eq!(process.log().matches(&line).count(), lines + 1);
    }
    assert!(process.wait_for_exit().await?.success());
    Ok(())
}

#[tokio::test]
async fn the_wait_command_reports_operations_as_the_option_does() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster
        .start_agent("worker-a", &["decky-01", "decky-02"])
        .await?;
    let cli = Cli::with_role(&cluster, Role::Viewer)?;
    let first = cluster.operator.tear_down(&agent.host, "decky-01").await?;
    let second = cluster.operator.tear_down(&agent.host, "decky-02").await?;
    let [first, second] = [first, second].map(|reply| reply.operation_id);
    agent.report_success(first, &["decky-01"]).await?;
    cluster.operator.wait_for_end(first).await?;
    let ids = [first, second].map(|id| id.to_string());

    // An operation that has ended is reported at once.
    let ended = cli.run(&["wait", &ids[0]]).await?;
    let shown = ended.expect_success()?;
    assert!(
        shown.contains("✓ succeeded") && shown.contains("worker-a/decky-01"),
        "{shown}"
    );
    let ended = cli
        .run(&["wait", &ids[0], &ids[1], "--timeout", "1s"])
        .await?;
    assert_eq!(ended.code, 5, "{ended:?}");
    assert!(
        ended
            .stderr
            .contains("Not ended within 1 s; the teardown continues")
            && ended.stderr.contains(&ids[1]),
        "{ended:?}"
    );

    // The ids may be shortened as far as they differ, and repeated.
    let common = ids[0]
        .bytes()
        .zip(ids[1].bytes())
        .take_while(|(one, other)| one == other)
        .count();
    let prefix = &ids[1][..(common + 1).max(4)];
    let arguments = ["wait", prefix, &ids[0], &ids[1]];
    let (answer, done) = tokio::join!(cli.run_json(&arguments, 1, "cli/teardowns"), async {
        let busy = vec![failed_shard("decky-02", "busy")];
        agent.report_failure(second, "busy", busy).await
    });
    done?;
    let answer = answer?;
    let states: Vec<_> = (0..3)
        .map(|row| answer["teardowns"][row]["operation"]["state"].as_str())
        .collect();
    assert_eq!(states, [Some("succeeded"), Some("failed"), None]);

    let unknown = "01997c3e-5f1a-7c80-a2f4-0d6a7b5f1c11";
    let ended = cli.run(&["wait", unknown]).await?;
    assert_eq!(ended.code, 3, "{ended:?}");
    Ok(())
}
