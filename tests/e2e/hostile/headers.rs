//! What is hostile around a payload: headers, reply subjects, and none of them.

use async_nats::HeaderMap;
use bytes::Bytes;
use scuttle_schemas::headers;
use scuttle_schemas::shards::ShardsUpdated;
use scuttle_schemas::subjects::{self, AgentChannel};
use scuttle_tests::{Broadcasts, Client, Cluster, FakeAgent, Role, TestResult};
use serde_json::{Value, json};

/// A cluster with a teardown under way, and one more decky to take down.
async fn something_to_harm() -> anyhow::Result<(Cluster, FakeAgent)> {
    let cluster = Cluster::start().await?;
    let mut agent = cluster
        .start_agent("worker-a", &["decky-1", "decky-2"])
        .await?;
    cluster.operator.tear_down(&agent.host, "decky-1").await?;
    agent.next_command().await?;
    Ok((cluster, agent))
}

/// Headers are hostile, too: nothing in them changes an answer or travels on.
#[tokio::test]
async fn hostile_headers_harm_nothing() -> TestResult {
    let (cluster, mut agent) = something_to_harm().await?;
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
    let answer: Value = cluster
        .operator
        .request_with_headers(subjects::TEARDOWN, hostile, &request)
        .await?;
    assert_eq!(answer["accepted"], true);
    loop {
        let (command, headers) = agent.next_delivery().await?;
        if json!(command.operation_id) == answer["operation_id"] {
            assert_eq!(headers.get(headers::TRACEPARENT), None);
            return Ok(());
        }
    }
}

/// Requests without a reply subject are carried out or dropped, and stop nothing.
#[tokio::test]
async fn requests_without_a_reply_subject_stop_nothing() -> TestResult {
    let (cluster, agent) = something_to_harm().await?;
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

/// A reply subject on which the asker may not write gets nothing: no answer becomes a command, a broadcast
/// or another request.
#[tokio::test]
async fn an_answer_becomes_no_command_or_broadcast() -> TestResult {
    let (cluster, mut agent) = something_to_harm().await?;
    let mut victim = cluster.start_agent("worker-b", &["decky-1"]).await?;
    let mut told = Broadcasts::<ShardsUpdated>::subscribe(&cluster.operator).await?;
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

    // Whatever had come of those would come before what comes of this, and could not be read.
    let marker = cluster.operator.tear_down(&victim.host, "decky-1").await?;
    let (command, _) = victim.next_delivery().await?;
    assert_eq!(command.operation_id, marker.operation_id);
    let of_it = |told: &ShardsUpdated| told.operation_id == Some(marker.operation_id);
    told.wait_for("tearing_down", of_it).await?;
    Ok(())
}
