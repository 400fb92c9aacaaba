//! Hostile headers and reply subjects, and requests without a reply subject.

use async_nats::HeaderMap;
use bytes::Bytes;
use scuttle_schemas::headers;
use scuttle_schemas::shards::ShardsUpdated;
use scuttle_schemas::subjects::{self, AgentChannel};
use scuttle_tests::{Broadcasts, Client, Cluster, FakeAgent, Role, TestResult};
use serde_json::{Value, json};

/// Starts a cluster with an open teardown, and with one more decky that can be torn down.
async fn start_with_open_teardown() -> anyhow::Result<(Cluster, FakeAgent)> {
    let cluster = Cluster::start().await?;
    let mut agent = cluster
        .start_agent("worker-a", &["decky-1", "decky-2"])
        .await?;
    cluster.operator.tear_down(&agent.host, "decky-1").await?;
    agent.next_command().await?;
    Ok((cluster, agent))
}

/// Hostile headers do not change the reply to a request and are not copied to its command.
#[tokio::test]
async fn hostile_headers_have_no_effect() -> TestResult {
    let (cluster, mut agent) = start_with_open_teardown().await?;
    let mut hostile = HeaderMap::new();
    for (name, value) in [
        (headers::TRACEPARENT, "x".repeat(100_000)),
        (headers::SERVICE_ERROR_CODE, "500".to_owned()),
        ("Status", "503".to_owned()),
        ("x", "y".repeat(100_000)),
    ] {
        hostile.insert(name, value.as_str());
    }
    let request = json!({ "host_uuid": agent.host, "decky_id": "decky-2" });
    let accepted: Value = cluster
        .operator
        .request_with_headers(subjects::TEARDOWN, hostile, &request)
        .await?;
    assert_eq!(accepted["accepted"], true);
    loop {
        let (command, headers) = agent.next_delivery().await?;
        if json!(command.operation_id) == accepted["operation_id"] {
            assert_eq!(headers.get(headers::TRACEPARENT), None);
            return Ok(());
        }
    }
}

/// A request without a reply subject is executed or dropped.
#[tokio::test]
async fn requests_without_a_reply_subject_do_not_stop_the_controller() -> TestResult {
    let (cluster, agent) = start_with_open_teardown().await?;
    let enroll = serde_json::to_vec(&json!({ "name": "worker-b" }))?;
    for subject in [
        subjects::TEARDOWN,
        subjects::HOSTS_ENROLL,
        subjects::SHARDS_LIST,
    ] {
        for payload in ["", "{}", "garbage"] {
            cluster
                .operator
                .nats()
                .publish(subject, payload.into())
                .await?;
        }
        cluster
            .operator
            .nats()
            .publish(subject, enroll.clone().into())
            .await?;
    }
    agent.publish(AgentChannel::Heartbeat, &json!({})).await?;
    agent.publish(AgentChannel::Results, &json!({})).await?;
    let viewer = Client::connect(&cluster.servers[0], Role::Viewer).await?;
    viewer.wait_until_ready().await?;
    assert!(
        cluster
            .operator
            .tear_down(&agent.host, "decky-2")
            .await?
            .accepted
    );
    Ok(())
}

/// The controller sends no reply to a subject that the requester itself may not publish to.
#[tokio::test]
async fn a_reply_cannot_become_a_command_a_broadcast_or_a_request() -> TestResult {
    let (cluster, mut agent) = start_with_open_teardown().await?;
    let mut victim = cluster.start_agent("worker-b", &["decky-1"]).await?;
    let mut updates = Broadcasts::<ShardsUpdated>::subscribe(&cluster.operator).await?;
    cluster.operator.wait_until_ready().await?;
    let heartbeat: Bytes = serde_json::to_vec(&agent.next_heartbeat(None))?.into();
    for reply in [
        AgentChannel::Commands.subject(&victim.host),
        subjects::SHARDS_UPDATED.to_owned(),
        subjects::TEARDOWN.to_owned(),
    ] {
        let subject = AgentChannel::Heartbeat.subject(&agent.host);
        let nats = agent.client().nats();
        nats.publish_with_reply(subject, reply, heartbeat.clone())
            .await?;
    }
    agent.send_heartbeat().await?;

    // All messages that the earlier requests could cause would arrive before the broadcast of this
    // change.
    let marker = cluster.operator.tear_down(&victim.host, "decky-1").await?;
    let (command, _) = victim.next_delivery().await?;
    assert_eq!(command.operation_id, marker.operation_id);
    let of_it = |update: &ShardsUpdated| update.operation_id == Some(marker.operation_id);
    updates.wait_for("tearing_down", of_it).await?;
    Ok(())
}
