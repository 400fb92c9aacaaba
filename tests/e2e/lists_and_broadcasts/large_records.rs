//! The largest records that the protocol allows. Their lists are sent in pages, and each page fits
//! into one message.

use anyhow::Context;
use scuttle_schemas::subjects::{self, AgentChannel};
use scuttle_tests::{Cluster, FakeAgent, TestResult, failed_shard, wait_until};
use serde_json::{Value, json};

/// Creates the maximum number of labels, with keys and values of the maximum length in characters.
/// Almost all characters take three bytes.
fn create_largest_labels() -> Value {
    let label = |number: usize| (format!("{number:02}{}", "€".repeat(61)), "€".repeat(63));
    let labels = (0..16).map(label);
    labels
        .map(|(key, value)| (key, Value::from(value)))
        .collect()
}

/// The records of all hosts together are several times as large as the largest message.
#[tokio::test]
async fn the_largest_host_records_are_listed() -> TestResult {
    const HOSTS: usize = 400;
    let cluster = Cluster::start().await?;
    for number in 0..HOSTS {
        let request =
            json!({ "name": format!("worker-{number}"), "labels": create_largest_labels() });
        let enrolled: Value = cluster
            .operator
            .request(subjects::HOSTS_ENROLL, &request)
            .await?;
        assert_eq!(enrolled["accepted"], true);
    }
    assert_eq!(cluster.operator.list_hosts().await?.len(), HOSTS);
    Ok(())
}

#[tokio::test]
async fn the_largest_shard_records_are_listed() -> TestResult {
    const PAGES: u32 = 60;
    const DECKIES_PER_PAGE: u32 = 12;
    let cluster = Cluster::start().await?;
    let mut agent =
        FakeAgent::connect(&cluster.servers[0], &cluster.enroll_host("worker-a").await?).await?;
    let services = vec!["€".repeat(64); 32];
    let mut heartbeat = serde_json::to_value(agent.next_heartbeat(None))?;
    for page in 1..=PAGES {
        let first = (page - 1) * DECKIES_PER_PAGE;
        let deckies: Vec<_> = (first..first + DECKIES_PER_PAGE)
            .map(|number| {
                json!({ "decky_id": format!("decky-{number}"), "state": "running",
                        "services": services, "labels": create_largest_labels() })
            })
            .collect();
        heartbeat["page"] = json!(page);
        heartbeat["pages"] = json!(PAGES);
        heartbeat["shards"] = json!(deckies);
        let subject = AgentChannel::Heartbeat.subject(&agent.host);
        let reply: Value = agent.client().request(&subject, &heartbeat).await?;
        assert_eq!(reply["stale"], json!(false), "{reply}");
    }
    let all = PAGES * DECKIES_PER_PAGE;
    let shards = cluster.operator.list_shards().await?;
    assert_eq!(shards.len(), all as usize);

    let operation = cluster
        .operator
        .tear_down(&agent.host, None)
        .await?
        .operation_id;
    agent.next_command().await?;
    // Results have no pages: the longest errors of this many deckies fit into one message.
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
    let listed = ended.shards.context("the operation has no shards")?.len();
    assert!(listed > 50, "{listed} listed");
    assert_eq!(cluster.operator.list_operations().await?.len(), 1);
    assert_eq!(cluster.operator.list_shards().await?.len(), all as usize);
    Ok(())
}
