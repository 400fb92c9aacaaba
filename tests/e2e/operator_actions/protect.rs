//! `swarm.shards.protect`: protected deckies and hosts are torn down only by requests that override
//! the protection.

use std::collections::BTreeMap;

use scuttle_schemas::agents::ReportedShard;
use scuttle_schemas::hosts::HostsUpdated;
use scuttle_schemas::protection::ProtectAccepted;
use scuttle_schemas::shards::ShardsUpdated;
use scuttle_schemas::teardown::{TeardownAccepted, TeardownPlan};
use scuttle_schemas::{DeckyId, ErrorCode, HostId, Labels, subjects};
use scuttle_tests::clients::fake_agent::reported_shard;
use scuttle_tests::{Broadcasts, Client, Cluster, ExpectRejection, Rejection, TestResult};
use serde_json::{Value, json};

/// Requests to protect a target, or to lift its protection.
async fn protect(
    operator: &Client,
    host: &HostId,
    decky: Option<&str>,
    protected: bool,
) -> anyhow::Result<ProtectAccepted> {
    let request = json!({ "host_uuid": host, "decky_id": decky, "protected": protected });
    Ok(operator.request(subjects::SHARDS_PROTECT, &request).await?)
}

/// Returns the error of a teardown that is rejected.
async fn teardown_error(operator: &Client, host: &HostId, decky: Option<&str>) -> Rejection {
    operator.tear_down(host, decky).await.expect_rejection()
}

/// Returns the protected deckies of a host, as listed.
async fn protected_deckies(operator: &Client, host: &HostId) -> anyhow::Result<Vec<DeckyId>> {
    let shards = operator.list_shards().await?.into_iter();
    let protected = shards.filter(|shard| shard.host_uuid == *host && shard.protected);
    Ok(protected.map(|shard| shard.decky_id).collect())
}

#[tokio::test]
async fn a_protected_decky_is_rejected_also_after_a_crash_until_the_protection_is_lifted()
-> TestResult {
    let mut cluster = Cluster::start().await?;
    let agent = cluster.start_agent("worker-a", &["d1", "d2"]).await?;
    let host = &agent.host;
    let mut shards = Broadcasts::<ShardsUpdated>::subscribe(&cluster.operator).await?;
    let reply = protect(&cluster.operator, host, Some("d1"), true).await?;
    assert!(reply.accepted && reply.protected);
    shards
        .wait_for("the protected decky", |update| {
            (update.updated.iter()).any(|shard| shard.decky_id.as_str() == "d1" && shard.protected)
        })
        .await?;
    cluster.crash_controller().await?;
    for decky in [Some("d1"), None] {
        let error = teardown_error(&cluster.operator, host, decky).await;
        assert_eq!(error.code, ErrorCode::Protected);
        assert!(error.message.contains("d1"), "{}", error.message);
    }
    cluster.operator.tear_down(host, "d2").await?;

    let dry_run = json!({ "host_uuid": host, "dry_run": true });
    let plan: TeardownPlan = cluster
        .operator
        .request(subjects::TEARDOWN, &dry_run)
        .await?;
    let marks: Vec<bool> = plan.targets.iter().map(|target| target.protected).collect();
    assert_eq!(marks, [true, false]);

    let reply = protect(&cluster.operator, host, Some("d1"), false).await?;
    assert!(!reply.protected);
    cluster.operator.tear_down(host, "d1").await?;
    Ok(())
}

#[tokio::test]
async fn a_protected_host_rejects_every_teardown_without_an_override() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster.start_agent("worker-a", &["d1"]).await?;
    let host = agent.host.clone();
    let mut hosts = Broadcasts::<HostsUpdated>::subscribe(&cluster.operator).await?;
    protect(&cluster.operator, &host, None, true).await?;
    hosts
        .wait_for("the protected host", |update| {
            update.updated.iter().any(|host| host.protected)
        })
        .await?;
    agent.report_inventory(&["d1", "later"]).await?;
    let protected = protected_deckies(&cluster.operator, &host).await?;
    assert_eq!(protected.len(), 2, "{protected:?}");
    for decky in [None, Some("d1"), Some("later")] {
        let error = teardown_error(&cluster.operator, &host, decky).await;
        assert_eq!(error.code, ErrorCode::Protected);
    }
    let request = json!({ "host_uuid": host, "override_protection": true });
    let accepted: TeardownAccepted = cluster
        .operator
        .request(subjects::TEARDOWN, &request)
        .await?;
    assert_eq!(accepted.shards, 2);
    assert!(agent.next_command().await?.override_protection);
    Ok(())
}

#[tokio::test]
async fn a_label_protects_a_decky_and_no_request_lifts_it() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster.start_agent("worker-a", &["d1"]).await?;
    let labels = BTreeMap::from([("scuttle.protected".to_owned(), "true".to_owned())]);
    let labelled = ReportedShard {
        labels: Labels::try_from(labels)?,
        ..reported_shard("d1")
    };
    let heartbeat = agent.next_heartbeat(Some(vec![labelled]));
    agent.send(&heartbeat).await?;
    let reply = protect(&cluster.operator, &agent.host, Some("d1"), false).await?;
    assert!(reply.protected, "the label still protects the decky");
    let error = teardown_error(&cluster.operator, &agent.host, Some("d1")).await;
    assert_eq!(error.code, ErrorCode::Protected);
    agent.report_inventory(&["d1"]).await?;
    cluster.operator.tear_down(&agent.host, "d1").await?;
    Ok(())
}

#[tokio::test]
async fn a_request_that_breaks_a_rule_protects_nothing() -> TestResult {
    let cluster = Cluster::start().await?;
    let agent = cluster.start_agent("worker-a", &["d1"]).await?;
    let host = &agent.host;
    let gone = cluster.enroll_host("worker-b").await?;
    let decommission = json!({ "host_uuid": gone });
    let _: Value = (cluster.operator)
        .request(subjects::HOSTS_DECOMMISSION, &decommission)
        .await?;
    for (request, expected) in [
        (json!({ "host_uuid": host }), ErrorCode::BadRequest),
        (
            json!({ "host_uuid": host, "decky": "d1", "protected": true }),
            ErrorCode::BadRequest,
        ),
        (
            json!({ "host_uuid": host, "protected": true, "reason": "r".repeat(513) }),
            ErrorCode::BadRequest,
        ),
        (
            json!({ "host_uuid": "missing", "protected": true }),
            ErrorCode::HostNotFound,
        ),
        (
            json!({ "host_uuid": host, "decky_id": "d2", "protected": true }),
            ErrorCode::ShardNotFound,
        ),
        (
            json!({ "host_uuid": gone, "protected": true }),
            ErrorCode::HostDecommissioned,
        ),
    ] {
        let reply = cluster
            .operator
            .request::<Value>(subjects::SHARDS_PROTECT, &request)
            .await;
        assert_eq!(reply.expect_rejection().code, expected, "{request}");
    }
    assert_eq!(protected_deckies(&cluster.operator, host).await?, []);
    Ok(())
}
