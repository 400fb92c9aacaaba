//! Records as large as the protocol allows: their lists are answered, in pages that a server takes.

use anyhow::Context;
use scuttle_schemas::subjects::{self, AgentChannel};
use scuttle_tests::{Cluster, FakeAgent, TestResult, failed_shard, wait_until};
use serde_json::{Value, json};

/// The most of labels, each of the most characters of the most bytes.
fn labels() -> Value {
    let label = |number: usize| (format!("{number:02}{}", "€".repeat(61)), "€".repeat(63));
    let labels = (0..16).map(label);
    labels
        .map(|(key, value)| (key, Value::from(value)))
        .collect()
}

/// Hosts that together are several times as large as the largest message.
#[tokio::test]
async fn large_hosts_are_listed() -> TestResult {
    const HOSTS: usize = 400;
    let cluster = Cluster::start().await?;
    for number in 0..HOSTS {
        let request = json!({ "name": format!("worker-{number}"), "labels": labels() });
        let enrolled: Value = cluster
            .operator
            .request(subjects::HOSTS_ENROLL, &request)
            .await?;
        assert_eq!(enrolled["accepted"], true);
    }
    assert_eq!(cluster.operator.list_hosts().await?.len(), HOSTS);
    Ok(())
}

/// Shards and their failures, listed and in their operation.
#[tokio::test]
async fn large_shards_are_listed() -> TestResult {
    const PAGES: u32 = 60;
    const EACH: u32 = 12;
    let cluster = Cluster::start().await?;
    let mut agent =
        FakeAgent::connect(&cluster.servers[0], &cluster.enroll_host("worker-a").await?).await?;
    let services = vec!["€".repeat(64); 32];
    let mut heartbeat = serde_json::to_value(agent.next_heartbeat(None))?;
    for page in 1..=PAGES {
        let first = (page - 1) * EACH;
        let deckies: Vec<_> = (first..first + EACH)
            .map(|number| {
                json!({ "decky_id": format!("decky-{number}"), "state": "running",
                        "services": services, "labels": labels() })
            })
            .collect();
        heartbeat["page"] = json!(page);
        heartbeat["pages"] = json!(PAGES);
        heartbeat["shards"] = json!(deckies);
        let subject = AgentChannel::Heartbeat.subject(&agent.host);
        let answer: Value = agent.client().request(&subject, &heartbeat).await?;
        assert_eq!(answer["stale"], json!(false), "{answer}");
    }
    let all = PAGES * EACH;
    let shards = cluster.operator.list_shards().await?;
    assert_eq!(shards.len(), all as usize);

    let operation = cluster
        .operator
        .tear_down(&agent.host, None)
        .await?
        .operation_id;
    agent.next_command().await?;
    // Results are not paged: the longest errors of so many fit into one.
    let error = "€".repeat(512);
    let results = (0..all.min(600)).map(|number| failed_shard(&format!("decky-{number}"), &error));
    let result = agent.next_failure(operation, "busy", results.collect());
    agent.send_result(&result).await?;
    let ended = wait_until(
        "it has ended",
        || cluster.operator.operation(operation),
        |operation| operation.finished_at.is_some(),
    );
    let ended = ended.await?;
    let listed = ended.shards.context("its shards")?.len();
    assert!(listed > 50, "{listed} listed");
    assert_eq!(cluster.operator.list_operations().await?.len(), 1);
    assert_eq!(cluster.operator.list_shards().await?.len(), all as usize);
    Ok(())
}
