//! A controller whose data directory is empty: it reads the journal from its beginning, or a snapshot where that is trimmed.

use scuttle_schemas::subjects::AgentChannel;
use scuttle_tests::{FakeAgent, TestResult};
use serde_json::{Value, json};

use super::stage::Stage;

/// Takes the data directory of a follower away; it alone is left then, and leads.
async fn a_newcomer_takes_over(stage: &mut Stage) -> anyhow::Result<usize> {
    let leader = stage.settled().await?;
    let newcomer = (leader + 1) % stage.controllers.len();
    let third = (leader + 2) % stage.controllers.len();
    stage.controllers[newcomer].kill().await?;
    std::fs::remove_dir_all(stage.data_dir(newcomer))?;
    stage.restart(newcomer).await?;
    assert_eq!(stage.settled().await?, leader);
    stage.controllers[third].kill().await?;
    stage.controllers[leader].kill().await?;
    assert_eq!(stage.one_of(&[newcomer]).await?, newcomer);
    Ok(newcomer)
}

#[tokio::test]
async fn it_joins_and_takes_over() -> TestResult {
    let mut stage = Stage::start().await?;
    let mut agent = stage.agent("worker-a", &["decky-1", "decky-2"]).await?;
    let accepted = stage.operator.teardown(&agent.host, "decky-1").await?;
    a_newcomer_takes_over(&mut stage).await?;
    assert_eq!(
        stage.operator.states(&agent.host).await?,
        "decky-1 tearing_down, decky-2 running"
    );
    agent.succeed(accepted.operation_id, &["decky-1"]).await?;
    stage.operator.ended(accepted.operation_id).await?;
    Ok(())
}

/// Enough to be trimmed: more changes than are kept beside the rows, and more bytes than a start reads at once.
#[tokio::test]
async fn it_joins_and_takes_over_when_the_journal_was_trimmed() -> TestResult {
    const HOSTS: usize = 16;
    let mut stage = Stage::start().await?;
    let mut hosts = Vec::new();
    for number in 0..HOSTS {
        let mut agent = stage.agent(&format!("worker-{number}"), &[]).await?;
        report_many(&mut agent).await?;
        hosts.push(agent.host);
    }
    let leader = stage.settled().await?;
    stage.controllers[leader]
        .process()
        .line("trimmed the journal")
        .await?;
    let shards = stage.operator.shards().await?;
    let newcomer = a_newcomer_takes_over(&mut stage).await?;
    let process = stage.controllers[newcomer].process();
    process.line("downloading a snapshot").await?;
    assert_eq!(stage.operator.shards().await?, shards);
    let accepted = stage.operator.teardown(&hosts[0], "decky-0").await?;
    stage.operator.operation(accepted.operation_id).await?;
    Ok(())
}

/// Many deckies with long labels.
async fn report_many(agent: &mut FakeAgent) -> TestResult {
    const PAGES: u32 = 8;
    const EACH: u32 = 64;
    let label = |number: usize| (format!("{number:063}"), Value::from("x".repeat(63)));
    let labels: Value = (0..16).map(label).collect();
    let mut heartbeat = serde_json::to_value(agent.observe(None))?;
    let subject = AgentChannel::Heartbeat.subject(&agent.host);
    for page in 1..=PAGES {
        let deckies = (page - 1) * EACH..page * EACH;
        let decky = |number| json!({ "decky_id": format!("decky-{number}"), "state": "running", "labels": labels });
        heartbeat["page"] = json!(page);
        heartbeat["pages"] = json!(PAGES);
        heartbeat["shards"] = deckies.map(decky).collect();
        let answer: Value = agent.client().ask(&subject, &heartbeat).await?;
        assert_eq!(answer["accepted"], true, "{answer}");
    }
    Ok(())
}
