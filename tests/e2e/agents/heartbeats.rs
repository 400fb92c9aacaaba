//! Heartbeats on `agent.<host_uuid>.heartbeat`: how inventories are applied, in one message or in
//! pages, and which heartbeats are rejected.

use anyhow::Context;
use scuttle_schemas::agents::{HeartbeatAccepted, ReportedShard, ReportedState};
use scuttle_schemas::subjects::AgentChannel;
use scuttle_schemas::{ErrorCode, HostId};
use scuttle_tests::{
    Cluster, ExpectRejection, FakeAgent, TestResult, failed_shard, removed_shard, reported_shard,
};
use serde_json::{Value, json};

const ACCEPTED: HeartbeatAccepted = HeartbeatAccepted {
    accepted: true,
    send_inventory: false,
    stale: false,
    other_agent: None,
};

/// The record of the new shard contains all fields that the agent reported.
#[tokio::test]
async fn an_inventory_registers_an_unknown_shard() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster.start_agent("worker-a", &[]).await?;
    let shard: ReportedShard = serde_json::from_value(json!({
        "decky_id": "decky-1", "state": "pending", "services": ["ssh", "http"],
        "decky_ip": "10.0.0.7", "labels": { "ring": "a" },
    }))?;
    let heartbeat = agent.next_heartbeat(Some(vec![shard]));
    assert_eq!(agent.send(&heartbeat).await?, ACCEPTED);

    let request = json!({ "host_uuid": agent.host });
    let list: Value = cluster
        .operator
        .request(scuttle_schemas::subjects::SHARDS_LIST, &request)
        .await?;
    let shard = &list["shards"][0];
    let expected = json!({
        "host_uuid": agent.host, "host_name": "worker-a", "decky_id": "decky-1",
        "decky_ip": "10.0.0.7", "services": ["ssh", "http"], "labels": { "ring": "a" },
        "state": "pending", "last_error": null, "operation_id": null, "protected": false,
        "last_seen": shard["last_seen"], "updated_at": shard["updated_at"],
        "revision": list["revision"],
    });
    assert_eq!(*shard, expected);
    assert!(shard["last_seen"].is_string() && shard["updated_at"].is_string());
    assert_eq!(list["next"], json!(null));
    Ok(())
}

/// Each heartbeat replaces the state and the IP address of the shard.
#[tokio::test]
async fn a_heartbeat_updates_a_changed_shard() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    for state in [
        ReportedState::Degraded,
        ReportedState::Failed,
        ReportedState::Running,
    ] {
        let shard = ReportedShard {
            state,
            decky_ip: Some(format!("10.0.0.{}", agent.sequence)),
            ..reported_shard("decky-1")
        };
        let heartbeat = agent.next_heartbeat(Some(vec![shard.clone()]));
        agent.send(&heartbeat).await?;
        let record = cluster
            .operator
            .find_shard(&agent.host, "decky-1")
            .await?
            .context("the shard")?;
        assert_eq!(
            (record.state, record.decky_ip),
            (state.into(), shard.decky_ip)
        );
    }
    Ok(())
}

/// An inventory that shows no change updates only `last_seen`. The revision stays the same.
#[tokio::test]
async fn an_unchanged_report_raises_no_revision() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let before = cluster
        .operator
        .find_shard(&agent.host, "decky-1")
        .await?
        .context("the shard")?;
    agent.report_inventory(&["decky-1"]).await?;
    agent.report_inventory(&["decky-1"]).await?;
    let (revision, after) = cluster.operator.list_shards_paged(10).await?;
    assert_eq!((revision, after.len()), (before.revision, 1));
    assert!(after[0].last_seen >= before.last_seen);
    assert_eq!(
        scuttle_tests::clients::replica_view::clear_last_seen(after),
        scuttle_tests::clients::replica_view::clear_last_seen(vec![before])
    );
    Ok(())
}

/// A shard that is missing from a full inventory becomes `degraded`, whether it was pending,
/// running or failed. It recovers when an inventory lists it again.
#[tokio::test]
async fn a_shard_missing_from_the_inventory_is_degraded() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let shards = [
        ReportedState::Pending,
        ReportedState::Running,
        ReportedState::Failed,
    ]
    .iter()
    .zip(["decky-1", "decky-2", "decky-3"])
    .map(|(state, decky)| ReportedShard {
        state: *state,
        ..reported_shard(decky)
    })
    .collect();
    let heartbeat = agent.next_heartbeat(Some(shards));
    agent.send(&heartbeat).await?;
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "decky-1 pending, decky-2 running, decky-3 failed"
    );
    agent.send_heartbeat().await?;
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "decky-1 pending, decky-2 running, decky-3 failed",
        "a heartbeat without an inventory changes no shard"
    );
    agent.report_inventory(&[]).await?;
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "decky-1 degraded, decky-2 degraded, decky-3 degraded"
    );
    for shard in cluster.operator.list_shards().await? {
        assert_eq!(shard.last_error, Some("not reported by its agent".into()));
    }
    agent.report_inventory(&["decky-1"]).await?;
    let shard = cluster
        .operator
        .find_shard(&agent.host, "decky-1")
        .await?
        .context("the shard")?;
    assert_eq!(
        (shard.state, shard.last_error),
        (ReportedState::Running.into(), None)
    );
    Ok(())
}

/// A heartbeat changes neither the state of a shard that is being torn down nor the error of a
/// failed teardown. It updates only `last_seen`.
#[tokio::test]
async fn a_heartbeat_keeps_the_state_and_error_of_an_operation() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster
        .start_agent("worker-a", &["decky-1", "decky-2"])
        .await?;
    cluster.operator.tear_down(&agent.host, "decky-1").await?;
    let failing = cluster.operator.tear_down(&agent.host, "decky-2").await?;
    agent
        .report_failure(
            failing.operation_id,
            "busy",
            vec![failed_shard("decky-2", "busy")],
        )
        .await?;
    let before = cluster.operator.list_shards().await?;

    agent.report_inventory(&["decky-1", "decky-2"]).await?;
    agent.reboot();
    agent.report_inventory(&["decky-1", "decky-2"]).await?;
    agent.send_heartbeat().await?;
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "decky-1 tearing_down, decky-2 teardown_failed"
    );
    let after = cluster.operator.list_shards().await?;
    assert_eq!(after[1].last_error, Some("busy".into()));
    assert_eq!(after[1].operation_id, Some(failing.operation_id));
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(after.revision, before.revision);
        assert!(
            after.last_seen >= before.last_seen,
            "the agent still reports the shard"
        );
    }
    Ok(())
}

/// The reply to a heartbeat sets `send_inventory` until an inventory of the agent's current boot
/// has arrived.
#[tokio::test]
async fn the_controller_requests_the_inventory_of_each_boot() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent =
        FakeAgent::connect(&cluster.servers[0], &cluster.enroll_host("worker-a").await?).await?;
    let inventory_requested = HeartbeatAccepted {
        send_inventory: true,
        ..ACCEPTED
    };
    assert_eq!(agent.send_heartbeat().await?, inventory_requested);
    assert_eq!(agent.report_inventory(&["decky-1"]).await?, ACCEPTED);
    assert_eq!(agent.send_heartbeat().await?, ACCEPTED);
    agent.reboot();
    assert_eq!(agent.send_heartbeat().await?, inventory_requested);
    Ok(())
}

/// An inventory that is sent in pages is applied when all pages have arrived, in any order.
#[tokio::test]
async fn an_inventory_is_applied_when_all_pages_have_arrived() -> TestResult {
    let cluster = Cluster::start().await?;
    for (name, order) in [("worker-a", [0, 1, 2]), ("worker-b", [2, 0, 1])] {
        let mut agent = cluster.start_agent(name, &["old"]).await?;
        let pages = agent.next_inventory_pages(&[&["decky-1"], &["decky-2"], &["decky-3"]]);
        for index in &order[..2] {
            assert_eq!(agent.send(&pages[*index]).await?, ACCEPTED);
            assert_eq!(
                cluster.operator.shard_states(&agent.host).await?,
                "old running"
            );
        }
        assert_eq!(agent.send(&pages[order[2]]).await?, ACCEPTED);
        assert_eq!(
            cluster.operator.shard_states(&agent.host).await?,
            "decky-1 running, decky-2 running, decky-3 running, old degraded"
        );
        assert_eq!(agent.send_heartbeat().await?, ACCEPTED);
    }
    Ok(())
}

/// A later heartbeat makes the controller discard an incomplete inventory. The missing page is
/// stale when it arrives, and no part of the inventory is applied.
#[tokio::test]
async fn a_later_report_drops_an_incomplete_inventory() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster.start_agent("worker-a", &["old"]).await?;
    agent.reboot();
    let pages = agent.next_inventory_pages(&[&["decky-1"], &["decky-2"]]);
    agent.send(&pages[0]).await?;
    let later = agent.send_heartbeat().await?;
    assert!(
        later.send_inventory,
        "no complete inventory of this boot has arrived: {later:?}"
    );
    assert!(agent.send(&pages[1]).await?.stale);
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "old running"
    );
    Ok(())
}

/// The heartbeat of a host that was never enrolled is rejected and registers nothing.
#[tokio::test]
async fn a_heartbeat_of_a_host_that_is_not_enrolled_is_rejected() -> TestResult {
    let cluster = Cluster::start().await?;
    let unknown_host: HostId = "unknown-host".parse()?;
    let mut agent = FakeAgent::connect(&cluster.servers[0], &unknown_host).await?;
    let rejection = agent
        .report_inventory(&["decky-1"])
        .await
        .expect_rejection();
    assert_eq!(
        (rejection.status, rejection.code),
        (404, ErrorCode::HostNotFound)
    );
    assert_eq!(cluster.operator.list_shards().await?, []);
    assert_eq!(cluster.operator.list_hosts().await?.len(), 0);
    Ok(())
}

/// A report is rejected if its payload and its subject name different hosts. Neither host changes.
#[tokio::test]
async fn a_report_whose_payload_names_another_host_is_rejected() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut sender = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let other = cluster.start_agent("worker-b", &["decky-1"]).await?;
    let accepted = cluster.operator.tear_down(&other.host, "decky-1").await?;
    let before = (
        cluster.operator.list_shards().await?,
        cluster.operator.list_operations().await?,
    );

    let mut heartbeat = sender.next_heartbeat(Some(vec![]));
    heartbeat.host_uuid = other.host.clone();
    let rejection = sender.send(&heartbeat).await.expect_rejection();
    assert_eq!(
        (rejection.status, rejection.code),
        (400, ErrorCode::BadRequest)
    );

    let mut result = sender.next_success(accepted.operation_id, vec![]);
    result.host_uuid = other.host.clone();
    let rejection = sender.send_result(&result).await.expect_rejection();
    assert_eq!(
        (rejection.status, rejection.code),
        (400, ErrorCode::BadRequest)
    );
    let after = (
        cluster.operator.list_shards().await?,
        cluster.operator.list_operations().await?,
    );
    assert_eq!(before, after);
    Ok(())
}

/// The controller ignores unknown fields in reports. A heartbeat with `shards: null` has no
/// inventory.
#[tokio::test]
async fn unknown_fields_of_reports_are_ignored() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let mut heartbeat = serde_json::to_value(agent.next_heartbeat(None))?;
    heartbeat["shards"] = json!(null);
    heartbeat["moon"] = json!({ "phase": "full" });
    let subject = AgentChannel::Heartbeat.subject(&agent.host);
    let reply: Value = agent.client().request(&subject, &heartbeat).await?;
    assert_eq!(
        reply,
        json!({ "accepted": true, "send_inventory": false, "stale": false })
    );
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "decky-1 running"
    );

    let accepted = cluster.operator.tear_down(&agent.host, "decky-1").await?;
    let result = agent.next_success(accepted.operation_id, vec![removed_shard("decky-1")]);
    let mut result = serde_json::to_value(result)?;
    result["moon"] = json!("full");
    result["shards"][0]["moon"] = json!("full");
    let subject = AgentChannel::Results.subject(&agent.host);
    let reply: Value = agent.client().request(&subject, &result).await?;
    assert_eq!(reply, json!({ "recorded": true }));
    assert_eq!(cluster.operator.shard_states(&agent.host).await?, "");
    Ok(())
}
