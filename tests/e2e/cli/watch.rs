//! `scuttle watch` for programs: everything that there is, then each change, across a lost connection.

use anyhow::Result;
use scuttle_tests::programs::process::Process;
use scuttle_tests::{FakeAgent, Role, Swarm, TestResult, until};
use serde_json::Value;

use super::stage::{Cli, valid};

/// The events of the stream so far, each valid.
fn events(process: &Process) -> Result<Vec<Value>> {
    let log = process.log();
    // A line may be half written.
    let whole = log.rfind('\n').map_or("", |end| &log[..end]);
    let mut events = Vec::new();
    for line in whole.lines().filter(|line| line.starts_with('{')) {
        let event = serde_json::from_str(line)?;
        valid("cli/event", &event)?;
        events.push(event);
    }
    Ok(events)
}

/// Waits for so many events of a kind, of which this holds.
async fn told(process: &Process, kind: &str, count: usize, fits: fn(&Value) -> bool) -> TestResult {
    let enough = |events: &Vec<Value>| {
        let of_kind = events
            .iter()
            .filter(|event| event["event"] == kind && fits(event));
        of_kind.count() >= count
    };
    until(kind, || async { events(process) }, enough).await?;
    Ok(())
}

#[tokio::test]
async fn changes_are_told_as_lines_also_those_of_a_lost_connection() -> TestResult {
    let mut swarm = Swarm::start().await?;
    let mut agent = swarm.agent("worker-a", &["decky-01", "decky-02"]).await?;
    let cli = Cli::of(&swarm, Role::Viewer)?;
    let snapshot = cli.json(&["watch"], 0, "cli/snapshot").await?;
    assert_eq!(snapshot["shards"].as_array().map(Vec::len), Some(2));

    let mut process = cli.start(&["watch", "-o", "jsonl"])?;
    told(&process, "complete", 1, |_| true).await?;
    let first = events(&process)?;
    let kinds = |kind: &str| first.iter().filter(|event| event["event"] == kind).count();
    assert_eq!(
        (kinds("host"), kinds("shard"), kinds("operation")),
        (1, 2, 0)
    );

    let accepted = swarm.operator.teardown(&agent.host, "decky-01").await?;
    told(&process, "shard", 1, |event| {
        event["shard"]["state"] == "tearing_down"
    })
    .await?;
    told(&process, "operation", 1, |event| {
        event["operation"]["state"] == "queued"
    })
    .await?;
    agent.succeed(accepted.operation_id, &["decky-01"]).await?;
    told(&process, "shard_removed", 1, |event| {
        event["decky_id"] == "decky-01"
    })
    .await?;

    // What happens while it cannot hear is told when it is back.
    swarm.nats.kill().await?;
    told(&process, "stale", 1, |_| true).await?;
    swarm.nats.restart().await?;
    swarm.operator.answered().await?;
    let mut agent = FakeAgent::connect(&swarm.nats, &agent.host).await?;
    agent.report(&["decky-02", "decky-03"]).await?;
    told(&process, "shard", 1, |event| {
        event["shard"]["decky_id"] == "decky-03"
    })
    .await?;
    told(&process, "complete", 2, |_| true).await?;
    process.signal("INT").await?;
    assert_eq!(process.exit().await?.code(), Some(0));
    Ok(())
}
