//! Only the leader subscribes to requests and reports, and only the leader replies.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use futures_util::StreamExt;
use scuttle_schemas::subjects::{self, AgentChannel, SERVICE_NAME};
use scuttle_tests::servers::nats_cluster::list_monitors;
use scuttle_tests::wait::with_timeout;
use scuttle_tests::{Cluster, TestResult};
use serde_json::Value;

use super::start_cluster;

/// Returns the number of controllers that subscribe to each subject, according to the servers.
async fn count_subscribers(cluster: &Cluster) -> Result<BTreeMap<String, usize>> {
    let mut counts = BTreeMap::new();
    for monitor in list_monitors(&cluster.servers) {
        let connz: Value = serde_json::from_str(&monitor.get("/connz?subs=1").await?)?;
        let connections = connz["connections"]
            .as_array()
            .context("the reply of /connz has connections")?;
        let is_controller = |connection: &&Value| connection["name"] == "scuttle-controller";
        for controller in connections.iter().filter(is_controller) {
            let subjects = controller["subscriptions_list"].as_array();
            for subject in subjects.into_iter().flatten().filter_map(Value::as_str) {
                *counts.entry(subject.to_owned()).or_default() += 1;
            }
        }
    }
    Ok(counts)
}

#[tokio::test]
async fn only_the_leader_subscribes_to_requests_and_reports() -> TestResult {
    let mut cluster = start_cluster().await?;
    cluster.start_agent("worker-a", &["decky-1"]).await?;
    let subscribers = count_subscribers(&cluster).await?;
    let reports = [
        AgentChannel::Heartbeat,
        AgentChannel::Results,
        AgentChannel::Progress,
    ];
    let reports = reports.map(AgentChannel::wildcard_subject);
    let requests = [
        subjects::TEARDOWN,
        subjects::HOSTS_LIST,
        subjects::OPERATIONS_GET,
    ];
    for subject in requests
        .into_iter()
        .chain(reports.iter().map(String::as_str))
    {
        assert_eq!(
            subscribers.get(subject),
            Some(&1),
            "{subject}: {subscribers:?}"
        );
    }
    assert_eq!(subscribers.get("$SRV.PING"), Some(&1), "{subscribers:?}");
    // The followers are connected, too: they receive the replies of JetStream on these inboxes.
    let inboxes = subscribers
        .keys()
        .filter(|subject| subject.starts_with("_CONTROLLER."));
    assert!(
        inboxes.count() >= cluster.controllers.len(),
        "{subscribers:?}"
    );

    let nats = cluster.operator.nats();
    let inbox = nats.new_inbox();
    let mut replies = nats.subscribe(inbox.clone()).await?;
    let ping = format!("$SRV.PING.{SERVICE_NAME}");
    nats.publish_with_reply(ping, inbox, "".into()).await?;
    with_timeout("the reply of a controller", replies.next()).await?;
    let leader = cluster.wait_for_leader().await?;
    cluster.operator.wait_until_ready().await?;
    replies.unsubscribe().await?;
    assert!(
        replies.next().await.is_none(),
        "a controller other than {leader} replied"
    );
    Ok(())
}
