//! A controller whose data directory is empty: it reads the journal from its beginning, or a snapshot where that is trimmed.

use scuttle_schemas::subjects::AgentChannel;
use scuttle_tests::{Cluster, FakeAgent, TestResult};
use serde_json::{Value, json};

use super::start_cluster;

/// Takes the data directory of a follower away; it alone is left then, and leads.
async fn a_newcomer_takes_over(cluster: &mut Cluster) -> anyhow::Result<usize> {
    let leader = cluster.wait_for_leader().await?;
    let newcomer = (leader + 1) % cluster.controllers.len();
    let third = (leader + 2) % cluster.controllers.len();
    cluster.controllers[newcomer].kill().await?;
    std::fs::remove_dir_all(cluster.data_dir(newcomer))?;
    cluster.controllers[newcomer].restart().await?;
    assert_eq!(cluster.wait_for_leader().await?, leader);
    cluster.controllers[third].kill().await?;
    cluster.controllers[leader].kill().await?;
    assert_eq!(cluster.wait_for_leader_among(&[newcomer]).await?, newcomer);
    Ok(newcomer)
}

#[tokio::test]
async fn it_joins_and_takes_over() -> TestResult {
    let mut cluster = start_cluster().await?;
    let mut agent = cluster
        .start_agent("worker-a", &["decky-1", "decky-2"])
        .await?;
    let accepted = cluster.operator.tear_down(&agent.host, "decky-1").await?;
    a_newcomer_takes_over(&mut cluster).await?;
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "decky-1 tearing_down, decky-2 running"
    );
    agent
        .report_success(accepted.operation_id, &["decky-1"])
        .await?;
    cluster.operator.wait_for_end(accepted.operation_id).await?;
    Ok(())
}

/// Enough to be trimmed: more changes than are kept beside the rows, and more bytes than a start reads at once.
#[tokio::test]
async fn it_joins_and_takes_over_when_the_journal_was_trimmed() -> TestResult {
    const HOSTS: usize = 16;
    let mut cluster = start_cluster().await?;
    let mut hosts = Vec::new();
    for number in 0..HOSTS {
        let mut agent = cluster
            .start_agent(&format!("worker-{number}"), &[])
            .await?;
        report_many(&mut agent).await?;
        hosts.push(agent.host);
    }
    let leader = cluster.wait_for_leader().await?;
    cluster.controllers[leader]
        .process()
        .wait_for_line("trimmed the journal")
        .await?;
    let shards = cluster.operator.list_shards().await?;
    let newcomer = a_newcomer_takes_over(&mut cluster).await?;
    let process = cluster.controllers[newcomer].process();
    process.wait_for_line("downloading a snapshot").await?;
    assert_eq!(cluster.operator.list_shards().await?, shards);
    let accepted = cluster.operator.tear_down(&hosts[0], "decky-0").await?;
    cluster.operator.operation(accepted.operation_id).await?;
    Ok(())
}

/// Many deckies with long labels.
async fn report_many(agent: &mut FakeAgent) -> TestResult {
    const PAGES: u32 = 8;
    const EACH: u32 = 64;
    let label = |number: usize| (format!("{number:063}"), Value::from("x".repeat(63)));
    let labels: Value = (0..16).map(label).collect();
    let mut heartbeat = serde_json::to_value(agent.next_heartbeat(None))?;
    let subject = AgentChannel::Heartbeat.subject(&agent.host);
    for page in 1..=PAGES {
        let deckies = (page - 1) * EACH..page * EACH;
        let decky = |number| json!({ "decky_id": format!("decky-{number}"), "state": "running", "labels": labels });
        heartbeat["page"] = json!(page);
        heartbeat["pages"] = json!(PAGES);
        heartbeat["shards"] = deckies.map(decky).collect();
        let answer: Value = agent.client().request(&subject, &heartbeat).await?;
        assert_eq!(answer["accepted"], true, "{answer}");
    }
    Ok(())
}
