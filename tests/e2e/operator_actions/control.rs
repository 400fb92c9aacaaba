//! What operators do beside tearing down: cancel, plan, repeat with a key, decommission.

use async_nats::HeaderMap;
use scuttle_schemas::hosts::{DecommissionAccepted, EnrollAccepted, HostStatus};
use scuttle_schemas::operations::{CancelAccepted, OperationState};
use scuttle_schemas::teardown::{TeardownAccepted, TeardownPlan};
use scuttle_schemas::{ErrorCode, headers, subjects};
use scuttle_tests::{Cluster, ExpectRejection, TestResult};
use serde_json::json;

fn with_key(key: &str) -> HeaderMap {
    let mut map = HeaderMap::new();
    map.insert(headers::MSG_ID, key);
    map
}

/// The shards go back to what their agent reported, the agent is told, and nothing is cancelled twice.
#[tokio::test]
async fn a_queued_operation_is_cancelled() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let accepted = cluster.operator.tear_down(&agent.host, None).await?;
    agent.next_command().await?;

    let request = json!({ "operation_id": accepted.operation_id });
    let answer: CancelAccepted = cluster
        .operator
        .request(subjects::OPERATIONS_CANCEL, &request)
        .await?;
    assert!(answer.accepted);
    assert_eq!(answer.operation.state, OperationState::Cancelled);
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "decky-1 running"
    );
    let withdrawal = agent.next_cancel_command().await?;
    assert_eq!(withdrawal.operation_id, accepted.operation_id);
    assert_eq!(withdrawal.host_uuid, agent.host);

    let again = cluster
        .operator
        .request::<CancelAccepted>(subjects::OPERATIONS_CANCEL, &request)
        .await;
    assert_eq!(again.expect_rejection().code, ErrorCode::NotCancellable);
    // It had begun it all the same: the record follows the truth.
    agent
        .report_success(accepted.operation_id, &["decky-1"])
        .await?;
    assert_eq!(cluster.operator.shard_states(&agent.host).await?, "");
    let operation = cluster.operator.operation(accepted.operation_id).await?;
    assert_eq!(operation.state, OperationState::Succeeded);
    Ok(())
}

/// A dry run shows what would go, and stores nothing; a plan that no longer holds is refused.
#[tokio::test]
async fn a_plan_is_shown_and_held_to() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster
        .start_agent("worker-a", &["decky-1", "decky-2"])
        .await?;
    let dry = json!({ "host_uuid": agent.host, "dry_run": true });
    let plan: TeardownPlan = cluster.operator.request(subjects::TEARDOWN, &dry).await?;
    assert!(!plan.accepted);
    assert_eq!(plan.detail, "dry run");
    assert_eq!(plan.targets.len(), 2);
    assert!(
        cluster.operator.list_operations().await?.is_empty(),
        "nothing was stored"
    );

    let planned = json!({ "host_uuid": agent.host, "expect_plan": plan.plan });
    agent
        .report_inventory(&["decky-1", "decky-2", "decky-3"])
        .await?;
    let changed = cluster
        .operator
        .request::<TeardownAccepted>(subjects::TEARDOWN, &planned)
        .await;
    assert_eq!(changed.expect_rejection().code, ErrorCode::PlanChanged);
    agent.report_inventory(&["decky-1", "decky-2"]).await?;
    // Not reported is not gone: the third is degraded, and still a target.
    let changed = cluster
        .operator
        .request::<TeardownAccepted>(subjects::TEARDOWN, &planned)
        .await;
    assert_eq!(changed.expect_rejection().code, ErrorCode::PlanChanged);
    let third = cluster.operator.tear_down(&agent.host, "decky-3").await?;
    agent
        .report_success(third.operation_id, &["decky-3"])
        .await?;
    let accepted: TeardownAccepted = cluster
        .operator
        .request(subjects::TEARDOWN, &planned)
        .await?;
    assert_eq!(accepted.shards, 2);
    Ok(())
}

/// A client that got no answer asks again with the same key: nothing is torn down twice, not even what was
/// deployed anew, and not by the controller's next process either.
#[tokio::test]
async fn a_request_with_a_key_can_be_repeated() -> TestResult {
    let mut cluster = Cluster::start().await?;
    let mut agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let request = json!({ "host_uuid": agent.host, "decky_id": "decky-1" });
    let ask = async |cluster: &Cluster, key: &str, request: &serde_json::Value| {
        let headers = with_key(key);
        let operator = &cluster.operator;
        operator
            .request_with_headers::<TeardownAccepted>(subjects::TEARDOWN, headers, request)
            .await
    };
    let first = ask(&cluster, "rotation-7", &request).await?;
    assert!(!first.repeated);
    agent
        .report_success(first.operation_id, &["decky-1"])
        .await?;
    agent.report_inventory(&["decky-1"]).await?;
    for crashed in [false, true] {
        if crashed {
            cluster.crash_controller().await?;
        }
        let again = ask(&cluster, "rotation-7", &request).await?;
        let same = TeardownAccepted {
            repeated: true,
            ..first.clone()
        };
        assert_eq!(again, same, "crashed: {crashed}");
        let other = json!({ "host_uuid": agent.host });
        let conflict = ask(&cluster, "rotation-7", &other).await;
        assert_eq!(
            conflict.expect_rejection().code,
            ErrorCode::IdempotencyConflict
        );
        for bad in ["", &"k".repeat(129)] {
            let refused = ask(&cluster, bad, &request).await;
            assert_eq!(refused.expect_rejection().code, ErrorCode::BadRequest);
        }
    }
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "decky-1 running"
    );
    assert_eq!(cluster.operator.list_operations().await?.len(), 1);
    Ok(())
}

/// A host leaves by force with what was on record there, and may come back.
#[tokio::test]
async fn a_host_is_decommissioned_and_enrolled_again() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let open = cluster.operator.tear_down(&agent.host, "decky-1").await?;
    let leave = async |force: bool| {
        let request = json!({ "host_uuid": agent.host, "force": force });
        cluster
            .operator
            .request::<DecommissionAccepted>(subjects::HOSTS_DECOMMISSION, &request)
            .await
    };
    assert_eq!(
        leave(false).await.expect_rejection().code,
        ErrorCode::BadRequest
    );
    let gone = leave(true).await?;
    assert_eq!(gone.host.status, HostStatus::Decommissioned);
    assert!(
        gone.detail.contains("may still be running"),
        "{}",
        gone.detail
    );
    assert_eq!(
        leave(true).await.expect_rejection().code,
        ErrorCode::HostDecommissioned
    );
    assert_eq!(cluster.operator.list_shards().await?, []);
    let ended = cluster.operator.operation(open.operation_id).await?;
    assert_eq!(ended.state, OperationState::Failed);
    let heartbeat = agent.report_inventory(&["decky-1"]).await;
    assert_eq!(
        heartbeat.expect_rejection().code,
        ErrorCode::HostDecommissioned
    );
    let refused = cluster.operator.tear_down(&agent.host, None).await;
    assert_eq!(
        refused.expect_rejection().code,
        ErrorCode::HostDecommissioned
    );

    let request = json!({ "name": "worker-a", "host_uuid": agent.host });
    let back: EnrollAccepted = cluster
        .operator
        .request(subjects::HOSTS_ENROLL, &request)
        .await?;
    assert!(!back.repeated);
    agent.report_inventory(&["decky-1"]).await?;
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "decky-1 running"
    );
    Ok(())
}

/// An operator asks why a teardown is stuck.
#[tokio::test]
async fn an_open_operation_says_what_it_waits_for() -> TestResult {
    let cluster = Cluster::start().await?;
    let host = cluster.enroll_host("worker-a").await?;
    let accepted = cluster.operator.tear_down(&host, None).await?;
    let operation = cluster.operator.operation(accepted.operation_id).await?;
    let waiting = operation.waiting_for.expect("it is open");
    assert_eq!(waiting.what, "agent");
    assert!(
        waiting.detail.contains("no heartbeat"),
        "{}",
        waiting.detail
    );
    assert_eq!(waiting.since, operation.accepted_at);
    assert!(waiting.next_attempt_at.is_some());
    Ok(())
}
