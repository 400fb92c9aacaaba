//! Who answers: the one that leads, and no other.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use futures_util::StreamExt;
use scuttle_schemas::subjects::{self, AgentChannel, SERVICE_NAME};
use scuttle_tests::servers::nats_cluster::list_monitors;
use scuttle_tests::wait::with_timeout;
use scuttle_tests::{Cluster, TestResult};
use serde_json::Value;

use super::start_cluster;

/// How many controllers listen on each subject, by the servers' own account.
async fn listeners(cluster: &Cluster) -> Result<BTreeMap<String, usize>> {
    let mut listeners = BTreeMap::new();
    for monitor in list_monitors(&cluster.servers) {
        let told: Value = serde_json::from_str(&monitor.get("/connz?subs=1").await?)?;
        let connections = told["connections"].as_array().context("connections")?;
        let named = |each: &&Value| each["name"] == "scuttle-controller";
        for controller in connections.iter().filter(named) {
            let heard = controller["subscriptions_list"].as_array();
            for subject in heard.into_iter().flatten().filter_map(Value::as_str) {
                *listeners.entry(subject.to_owned()).or_default() += 1;
            }
        }
    }
    Ok(listeners)
}

#[tokio::test]
async fn followers_hear_no_request() -> TestResult {
    let mut cluster = start_cluster().await?;
    cluster.start_agent("worker-a", &["decky-1"]).await?;
    let heard = listeners(&cluster).await?;
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
        assert_eq!(heard.get(subject), Some(&1), "{subject}: {heard:?}");
    }
    assert_eq!(heard.get("$SRV.PING"), Some(&1), "{heard:?}");
    // All are connected all the same: JetStream answers them here.
    let inboxes = heard
        .keys()
        .filter(|subject| subject.starts_with("_CONTROLLER."));
    assert!(inboxes.count() >= cluster.controllers.len(), "{heard:?}");

    let nats = cluster.operator.nats();
    let inbox = nats.new_inbox();
    let mut answers = nats.subscribe(inbox.clone()).await?;
    let ping = format!("$SRV.PING.{SERVICE_NAME}");
    nats.publish_with_reply(ping, inbox, "".into()).await?;
    with_timeout("a controller answers", answers.next()).await?;
    let leader = cluster.wait_for_leader().await?;
    cluster.operator.wait_until_ready().await?;
    answers.unsubscribe().await?;
    assert!(
        answers.next().await.is_none(),
        "another than {leader} answers"
    );
    Ok(())
}
