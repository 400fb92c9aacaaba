//! `swarm.hosts.update`: changing the name, address and labels of a host, and resetting its agent.

use scuttle_schemas::hosts::{HostUpdateAccepted, HostsUpdated};
use scuttle_schemas::shards::ShardsUpdated;
use scuttle_schemas::{ErrorCode, subjects};
use scuttle_tests::{Broadcasts, Cluster, ExpectRejection, TestResult};
use serde_json::{Value, json};

#[tokio::test]
async fn an_update_is_durable_and_broadcast() -> TestResult {
    let mut cluster = Cluster::start().await?;
    let agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let host = &agent.host;
    let mut hosts = Broadcasts::<HostsUpdated>::subscribe(&cluster.operator).await?;
    let mut shards = Broadcasts::<ShardsUpdated>::subscribe(&cluster.operator).await?;
    let request = json!({ "host_uuid": host, "name": "worker-b", "address": "10.0.0.3",
        "labels": { "rack": "8" } });
    let accepted: HostUpdateAccepted = cluster
        .operator
        .request(subjects::HOSTS_UPDATE, &request)
        .await?;
    let updated = accepted.host;
    assert_eq!(updated.name.as_str(), "worker-b");
    assert_eq!(updated.address.as_deref(), Some("10.0.0.3"));
    assert_eq!(
        serde_json::to_value(&updated.labels)?,
        json!({ "rack": "8" })
    );
    hosts
        .wait_for("the host", |update| update.updated == [updated.clone()])
        .await?;
    shards
        .wait_for("the decky with the new name of its host", |update| {
            (update.updated.iter()).any(|shard| shard.host_name.as_str() == "worker-b")
        })
        .await?;
    cluster.crash_controller().await?;
    let host = cluster.operator.host(host).await?;
    assert_eq!((host.name, host.labels), (updated.name, updated.labels));
    Ok(())
}

#[tokio::test]
async fn updates_that_break_a_rule_are_rejected() -> TestResult {
    let cluster = Cluster::start().await?;
    let host = cluster.enroll_host("worker-a").await?;
    cluster.enroll_host("worker-b").await?;
    let gone = cluster.enroll_host("worker-c").await?;
    let request = json!({ "host_uuid": gone });
    let _: Value = (cluster.operator)
        .request(subjects::HOSTS_DECOMMISSION, &request)
        .await?;
    let before = cluster.operator.list_hosts().await?;
    for (request, expected) in [
        (json!({}), ErrorCode::BadRequest),
        (
            json!({ "host_uuid": host, "label": {} }),
            ErrorCode::BadRequest,
        ),
        (
            json!({ "host_uuid": host, "labels": null }),
            ErrorCode::BadRequest,
        ),
        (
            json!({ "host_uuid": host, "name": "a b" }),
            ErrorCode::BadRequest,
        ),
        (
            json!({ "host_uuid": host, "name": "worker-b" }),
            ErrorCode::BadRequest,
        ),
        (
            json!({ "host_uuid": host, "address": "a".repeat(256) }),
            ErrorCode::BadRequest,
        ),
        (
            json!({ "host_uuid": "missing", "name": "x" }),
            ErrorCode::HostNotFound,
        ),
        (
            json!({ "host_uuid": gone, "name": "x" }),
            ErrorCode::HostDecommissioned,
        ),
    ] {
        let reply = cluster
            .operator
            .request::<Value>(subjects::HOSTS_UPDATE, &request)
            .await;
        assert_eq!(reply.expect_rejection().code, expected, "{request}");
    }
    assert_eq!(cluster.operator.list_hosts().await?, before);
    Ok(())
}

#[tokio::test]
async fn enrolling_again_with_other_labels_or_another_address_is_rejected() -> TestResult {
    let cluster = Cluster::start().await?;
    let request = json!({ "name": "worker-a", "address": "10.0.0.1", "labels": { "rack": "7" } });
    let first: Value = (cluster.operator)
        .request(subjects::HOSTS_ENROLL, &request)
        .await?;
    for fields in [
        json!({ "name": "worker-a", "labels": { "rack": "8" } }),
        json!({ "name": "worker-a", "labels": {} }),
        json!({ "name": "worker-a", "address": "10.0.0.2" }),
    ] {
        let reply = cluster
            .operator
            .request::<Value>(subjects::HOSTS_ENROLL, &fields)
            .await;
        let rejection = reply.expect_rejection();
        assert_eq!(rejection.code, ErrorCode::BadRequest, "{fields}");
        assert!(
            rejection.message.contains(subjects::HOSTS_UPDATE),
            "{}",
            rejection.message
        );
    }
    for fields in [request, json!({ "name": "worker-a" })] {
        let again: Value = cluster
            .operator
            .request(subjects::HOSTS_ENROLL, &fields)
            .await?;
        assert_eq!(again["repeated"], true, "{fields}");
        assert_eq!(again["host"], first["host"]);
    }
    Ok(())
}

/// An agent with a later `boot_id`, for example a stolen one, has made the reports of the host's
/// real agent stale.
#[tokio::test]
async fn a_reset_agent_is_heard_again() -> TestResult {
    let mut cluster = Cluster::start().await?;
    let mut agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let real = agent.next_heartbeat(None);
    agent.reboot();
    agent.report_inventory(&["ghost"]).await?;
    assert!(agent.send(&real).await?.stale);
    let request = json!({ "host_uuid": agent.host, "reset_agent": true });
    let _: HostUpdateAccepted = cluster
        .operator
        .request(subjects::HOSTS_UPDATE, &request)
        .await?;
    cluster.crash_controller().await?;
    let reply = agent.send(&real).await?;
    assert!(!reply.stale && reply.send_inventory, "{reply:?}");
    Ok(())
}
