//! `scuttle watch -o jsonl` writes all current records and then changes to them, including changes
//! made while the connection was lost.

use std::convert::Infallible;

use anyhow::Result;
use scuttle_tests::programs::process::Process;
use scuttle_tests::{Cluster, FakeAgent, Role, TestResult, wait_until};
use serde_json::Value;

use super::cli_runner::{Cli, check_schema};

/// Returns the events that `scuttle watch` has written so far. Fails if an event does not match the
/// schema.
fn written_events(process: &Process) -> Result<Vec<Value>> {
    let log = process.log();
    // The last line may be incomplete.
    let complete_lines = log.rfind('\n').map_or("", |end| &log[..end]);
    let mut events = Vec::new();
    for line in complete_lines.lines().filter(|line| line.starts_with('{')) {
        let event = serde_json::from_str(line)?;
        check_schema("cli/event", &event)?;
        events.push(event);
    }
    Ok(events)
}

/// Waits until `scuttle watch` has written at least `count` events of this kind for which `matches`
/// returns true.
async fn wait_for_events(
    process: &Process,
    kind: &str,
    count: usize,
    matches: fn(&Value) -> bool,
) -> TestResult {
    let enough = |events: &Vec<Value>| {
        let matching = events
            .iter()
            .filter(|event| event["event"] == kind && matches(event));
        matching.count() >= count
    };
    wait_until(kind, || async { written_events(process) }, enough).await?;
    Ok(())
}

#[tokio::test]
async fn watch_writes_each_change_also_after_a_lost_connection() -> TestResult {
    let mut cluster = Cluster::start().await?;
    let mut agent = cluster
        .start_agent("worker-a", &["decky-01", "decky-02"])
        .await?;
    let cli = Cli::with_role(&cluster, Role::Viewer)?;
    let snapshot = cli.run_json(&["watch"], 0, "cli/snapshot").await?;
    assert_eq!(snapshot["shards"].as_array().map(Vec::len), Some(2));

    cluster.controllers[0].kill().await?;
    cli.run(&["watch", "-o", "json"])
        .await?
        .expect_failure(6, &["no controller answers"])?;
    cluster.controllers[0].restart().await?;
    cluster.operator.wait_until_ready().await?;

    let mut process = cli.start(&["watch", "-o", "jsonl"])?;
    wait_for_events(&process, "complete", 1, |_| true).await?;
    let first = written_events(&process)?;
    let kinds = |kind: &str| first.iter().filter(|event| event["event"] == kind).count();
    assert_eq!(
        (kinds("host"), kinds("shard"), kinds("operation")),
        (1, 2, 0)
    );

    let accepted = cluster.operator.tear_down(&agent.host, "decky-01").await?;
    wait_for_events(&process, "shard", 1, |event| {
        event["shard"]["state"] == "tearing_down"
    })
    .await?;
    wait_for_events(&process, "operation", 1, |event| {
        event["operation"]["state"] == "queued"
    })
    .await?;
    agent
        .report_success(accepted.operation_id, &["decky-01"])
        .await?;
    wait_for_events(&process, "shard_removed", 1, |event| {
        event["decky_id"] == "decky-01"
    })
    .await?;

    // Changes during the lost connection are written after the reconnect.
    cluster.servers[0].kill().await?;
    wait_for_events(&process, "stale", 1, |_| true).await?;
    cluster.servers[0].restart().await?;
    cluster.wait_until_subscribed().await?;
    let mut agent = FakeAgent::connect(&cluster.servers[0], &agent.host).await?;
    agent.report_inventory(&["decky-02", "decky-03"]).await?;
    wait_for_events(&process, "shard", 1, |event| {
        event["shard"]["decky_id"] == "decky-03"
    })
    .await?;
    wait_for_events(&process, "complete", 2, |_| true).await?;
    process.send_signal("INT").await?;
    assert_eq!(process.wait_for_exit().await?.code(), Some(0));
    Ok(())
}

/// Reports one inventory after another. Returns only with an error.
async fn change_forever(agent: &mut FakeAgent) -> Result<Infallible> {
    loop {
        agent.report_inventory(&["decky-03"]).await?;
        agent.report_inventory(&[]).await?;
    }
}

#[tokio::test]
async fn events_prints_changes_but_not_the_records_that_were_there_before() -> TestResult {
    let cluster = Cluster::start().await?;
    let deckies = ["decky-01", "decky-02"];
    let mut agent = cluster.start_agent("worker-a", &deckies).await?;
    let before = cluster.operator.list_shards_paged(1000).await?.0;
    let accepted = cluster.operator.tear_down(&agent.host, "decky-02").await?;
    let cli = Cli::with_role(&cluster, Role::Viewer)?;
    let mut process = cli.start(&["events", "-o", "jsonl"])?;
    wait_for_events(&process, "complete", 1, |_| true).await?;
    assert_eq!(written_events(&process)?.len(), 1);
    agent
        .report_success(accepted.operation_id, &["decky-02"])
        .await?;
    wait_for_events(&process, "shard_removed", 1, |event| {
        event["decky_id"] == "decky-02"
    })
    .await?;
    process.send_signal("INT").await?;
    assert_eq!(process.wait_for_exit().await?.code(), Some(0));

    // Of the records that were there before, only what changed after the revision.
    cluster.operator.tear_down(&agent.host, "decky-01").await?;
    let since = before.to_string();
    let earlier = ["events", "--since", &since, "-o", "jsonl"];
    // The second process appends to the log of the first.
    let first = written_events(&process)?.len();
    let process = cli.start(&earlier)?;
    wait_for_events(&process, "complete", 2, |_| true).await?;
    let events = written_events(&process)?.split_off(first);
    let is_decky_1 = |event: &&Value| event["shard"]["decky_id"] == "decky-01";
    assert_eq!(events.iter().filter(is_decky_1).count(), 1, "{events:?}");
    assert_eq!(events.len(), 2, "{events:?}");
    drop(process);

    let mut process = cli.start(&["events"])?;
    // A change is printed once the command has subscribed.
    let line = tokio::select! {
        line = process.wait_for_line("worker-a/decky-03") => line?,
        failed = change_forever(&mut agent) => match failed? {},
    };
    assert!(line.contains("decky ") && !line.contains('{'), "{line}");
    Ok(())
}

#[tokio::test]
async fn events_rejects_a_format_that_needs_an_end() -> TestResult {
    let cluster = Cluster::start().await?;
    let cli = Cli::with_role(&cluster, Role::Viewer)?;
    let document = cli.run(&["events", "-o", "json"]).await?;
    document.expect_failure(2, &["-o jsonl"])
}
