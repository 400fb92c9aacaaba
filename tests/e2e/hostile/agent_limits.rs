//! What one agent, or its stolen credentials, cannot do with valid reports: make the host's reports
//! stale for ever, fill the record, or end an operation without saying what happened.

use scuttle_schemas::hosts::HostUpdateAccepted;
use scuttle_schemas::operations::OperationState;
use scuttle_schemas::teardown::TeardownPlan;
use scuttle_schemas::{
    BootId, ErrorCode, MAX_DECKIES_PER_HOST, MAX_PLAN_TARGETS, MAX_SHARDS_PER_HOST, Note, subjects,
};
use scuttle_tests::clients::fake_agent::reported_inventory;
use scuttle_tests::{Cluster, ExpectRejection, TestResult, failed_shard, removed_shard};
use serde_json::{Value, json};
use uuid::Uuid;

#[tokio::test]
async fn reports_of_a_boot_more_than_an_hour_ahead_are_rejected() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let accepted = cluster.operator.tear_down(&agent.host, "decky-1").await?;
    let now = u64::try_from(agent.boot.started_at().as_millis())?;
    let ahead = |seconds: u64| {
        let at = uuid::Timestamp::from_unix_time(now / 1000 + seconds, 0, 0, 0);
        BootId(Uuid::new_v7(at))
    };
    for boot in [ahead(2 * 3600), BootId(Uuid::max())] {
        let mut heartbeat = agent.next_heartbeat(Some(reported_inventory(&["ghost"])));
        heartbeat.boot_id = boot;
        let rejection = agent.send(&heartbeat).await.expect_rejection();
        assert_eq!(rejection.code, ErrorCode::BadRequest);
        let shards = vec![removed_shard("decky-1")];
        let mut result = agent.next_success(accepted.operation_id, shards);
        result.boot_id = boot;
        let rejection = agent.send_result(&result).await.expect_rejection();
        assert_eq!(rejection.code, ErrorCode::BadRequest);
    }
    assert!(!agent.send_heartbeat().await?.stale);
    let states = cluster.operator.shard_states(&agent.host).await?;
    assert_eq!(states, "decky-1 tearing_down");

    // A boot half an hour ahead is accepted. It makes the real agent's reports stale until an
    // operator resets the agent.
    let real = agent.boot;
    agent.boot = ahead(1800);
    assert!(!agent.send_heartbeat().await?.stale);
    agent.boot = real;
    assert!(agent.send_heartbeat().await?.stale);
    let request = json!({ "host_uuid": agent.host, "reset_agent": true });
    let _: HostUpdateAccepted = cluster
        .operator
        .request(subjects::HOSTS_UPDATE, &request)
        .await?;
    assert!(!agent.send_heartbeat().await?.stale);
    Ok(())
}

#[tokio::test]
async fn a_host_enrolled_again_accepts_reports_of_an_earlier_boot() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let earlier = agent.next_heartbeat(None);
    agent.reboot();
    agent.send_heartbeat().await?;
    assert!(agent.send(&earlier).await?.stale);
    let request = json!({ "host_uuid": agent.host, "force": true });
    let _: Value = (cluster.operator)
        .request(subjects::HOSTS_DECOMMISSION, &request)
        .await?;
    let request = json!({ "name": "worker-a", "host_uuid": agent.host });
    let _: Value = (cluster.operator)
        .request(subjects::HOSTS_ENROLL, &request)
        .await?;
    assert!(!agent.send(&earlier).await?.stale);
    Ok(())
}

#[tokio::test]
async fn an_older_page_does_not_replace_a_half_arrived_inventory() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let older = agent.next_inventory_pages(&[&["ghost"], &["ghost-2"]]);
    agent.reboot();
    let pages = agent.next_inventory_pages(&[&["decky-1"], &["decky-2"]]);
    assert!(!agent.send(&pages[0]).await?.stale);
    assert!(agent.send(&older[0]).await?.stale);
    assert!(!agent.send(&pages[1]).await?.stale);
    let states = cluster.operator.shard_states(&agent.host).await?;
    assert_eq!(states, "decky-1 running, decky-2 running");
    Ok(())
}

/// The decky may have been deployed after the agent read the inventory.
#[tokio::test]
async fn an_inventory_that_began_before_a_teardown_does_not_prove_its_success() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster
        .start_agent("worker-a", &["decky-1", "decky-2", "decky-3"])
        .await?;
    let pages = agent.next_inventory_pages(&[&["decky-2"], &["decky-3"]]);
    agent.send(&pages[0]).await?;
    let operator = &cluster.operator;
    let accepted = operator
        .tear_down_within(1, &agent.host, Some("decky-1"))
        .await?;
    agent.send(&pages[1]).await?;
    let operation = operator.wait_for_end(accepted.operation_id).await?;
    assert_eq!(operation.state, OperationState::TimedOut, "{operation:?}");
    Ok(())
}

#[tokio::test]
async fn a_result_that_contradicts_itself_is_rejected() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster
        .start_agent("worker-a", &["decky-1", "decky-2"])
        .await?;
    let accepted = cluster.operator.tear_down(&agent.host, "decky-1").await?;
    for shards in [
        vec![removed_shard("decky-1"), failed_shard("decky-1", "busy")],
        vec![removed_shard("decky-1"), removed_shard("decky-1")],
        vec![removed_shard("decky-2")],
        vec![],
    ] {
        let result = agent.next_success(accepted.operation_id, shards);
        let rejection = agent.send_result(&result).await.expect_rejection();
        assert_eq!(rejection.code, ErrorCode::BadRequest, "{result:?}");
    }
    let states = cluster.operator.shard_states(&agent.host).await?;
    assert_eq!(states, "decky-1 tearing_down, decky-2 running");
    agent
        .report_success(accepted.operation_id, &["decky-1"])
        .await
}

#[tokio::test]
async fn a_host_never_has_more_than_its_limit_of_shards() -> TestResult {
    let mut cluster = Cluster::start().await?;
    let mut agent = cluster.start_agent("worker-a", &[]).await?;
    for prefix in ["a", "b", "c", "d"] {
        let names: Vec<String> = (0..MAX_DECKIES_PER_HOST)
            .map(|number| format!("{prefix}-{number}"))
            .collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        agent.report_inventory(&names).await?;
        let host = cluster.operator.host(&agent.host).await?;
        assert!(host.shards <= MAX_SHARDS_PER_HOST, "{} shards", host.shards);
    }
    cluster.crash_controller().await?;
    let shards = cluster.operator.list_shards().await?;
    assert_eq!(shards.len(), MAX_SHARDS_PER_HOST);
    let longest_missing = |name: &str| name.starts_with('a') || name.starts_with('b');
    assert!(
        !shards
            .iter()
            .any(|shard| longest_missing(shard.decky_id.as_str()))
    );

    let dry_run = json!({ "host_uuid": agent.host, "dry_run": true });
    let plan: TeardownPlan = cluster
        .operator
        .request(subjects::TEARDOWN, &dry_run)
        .await?;
    assert_eq!(
        (plan.targets.len(), plan.total),
        (MAX_PLAN_TARGETS, MAX_SHARDS_PER_HOST)
    );

    // No shard of an open operation leaves, and the host's notes say what is missing.
    let request = json!({ "host_uuid": agent.host });
    let _: Value = (cluster.operator)
        .request(subjects::TEARDOWN, &request)
        .await?;
    agent.report_inventory(&["e-1", "e-2"]).await?;
    let host = cluster.operator.host(&agent.host).await?;
    assert_eq!(host.shards, MAX_SHARDS_PER_HOST);
    let notes: Vec<&str> = host.notes.iter().map(Note::as_str).collect();
    assert!(
        notes.iter().any(|note| note.contains("2 deckies")),
        "{notes:?}"
    );
    Ok(())
}
