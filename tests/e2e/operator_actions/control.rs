//! What operators do beside tearing down: cancel, plan, repeat with a key, decommission.

use async_nats::HeaderMap;
use scuttle_schemas::hosts::{DecommissionAccepted, EnrollAccepted, HostStatus};
use scuttle_schemas::operations::{CancelAccepted, OperationState};
use scuttle_schemas::teardown::{TeardownAccepted, TeardownPlan};
use scuttle_schemas::{ErrorCode, headers, subjects};
use scuttle_tests::{Outcome, Swarm, TestResult};
use serde_json::json;

fn with_key(key: &str) -> HeaderMap {
    let mut map = HeaderMap::new();
    map.insert(headers::MSG_ID, key);
    map
}

/// The shards go back to what their agent reported, the agent is told, and nothing is cancelled twice.
#[tokio::test]
async fn a_queued_operation_is_cancelled() -> TestResult {
    let swarm = Swarm::start().await?;
    let mut agent = swarm.agent("worker-a", &["decky-1"]).await?;
    let accepted = swarm.operator.teardown(&agent.host, None).await?;
    agent.command().await?;

    let request = json!({ "operation_id": accepted.operation_id });
    let answer: CancelAccepted = swarm
        .operator
        .ask(subjects::OPERATIONS_CANCEL, &request)
        .await?;
    assert!(answer.accepted);
    assert_eq!(answer.operation.state, OperationState::Cancelled);
    assert_eq!(swarm.operator.states(&agent.host).await?, "decky-1 running");
    let withdrawal = agent.withdrawal().await?;
    assert_eq!(withdrawal.operation_id, accepted.operation_id);
    assert_eq!(withdrawal.host_uuid, agent.host);

    let again = swarm
        .operator
        .ask::<CancelAccepted>(subjects::OPERATIONS_CANCEL, &request)
        .await;
    assert_eq!(again.refused().code, ErrorCode::NotCancellable);
    // It had begun it all the same: the record follows the truth.
    agent.succeed(accepted.operation_id, &["decky-1"]).await?;
    assert_eq!(swarm.operator.states(&agent.host).await?, "");
    let operation = swarm.operator.operation(accepted.operation_id).await?;
    assert_eq!(operation.state, OperationState::Succeeded);
    Ok(())
}

/// A dry run shows what would go, and stores nothing; a plan that no longer holds is refused.
#[tokio::test]
async fn a_plan_is_shown_and_held_to() -> TestResult {
    let swarm = Swarm::start().await?;
    let mut agent = swarm.agent("worker-a", &["decky-1", "decky-2"]).await?;
    let dry = json!({ "host_uuid": agent.host, "dry_run": true });
    let plan: TeardownPlan = swarm.operator.ask(subjects::TEARDOWN, &dry).await?;
    assert!(!plan.accepted);
    assert_eq!(plan.detail, "dry run");
    assert_eq!(plan.targets.len(), 2);
    assert!(
        swarm.operator.operations().await?.is_empty(),
        "nothing was stored"
    );

    let planned = json!({ "host_uuid": agent.host, "expect_plan": plan.plan });
    agent.report(&["decky-1", "decky-2", "decky-3"]).await?;
    let changed = swarm
        .operator
        .ask::<TeardownAccepted>(subjects::TEARDOWN, &planned)
        .await;
    assert_eq!(changed.refused().code, ErrorCode::PlanChanged);
    agent.report(&["decky-1", "decky-2"]).await?;
    // Not reported is not gone: the third is degraded, and still a target.
    let changed = swarm
        .operator
        .ask::<TeardownAccepted>(subjects::TEARDOWN, &planned)
        .await;
    assert_eq!(changed.refused().code, ErrorCode::PlanChanged);
    let third = swarm.operator.teardown(&agent.host, "decky-3").await?;
    agent.succeed(third.operation_id, &["decky-3"]).await?;
    let accepted: TeardownAccepted = swarm.operator.ask(subjects::TEARDOWN, &planned).await?;
    assert_eq!(accepted.shards, 2);
    Ok(())
}

/// A client that got no answer asks again with the same key: nothing is torn down twice, not even what was
/// deployed anew, and not by the controller's next process either.
#[tokio::test]
async fn a_request_with_a_key_can_be_repeated() -> TestResult {
    let mut swarm = Swarm::start().await?;
    let mut agent = swarm.agent("worker-a", &["decky-1"]).await?;
    let request = json!({ "host_uuid": agent.host, "decky_id": "decky-1" });
    let ask = async |swarm: &Swarm, key: &str, request: &serde_json::Value| {
        let headers = with_key(key);
        let operator = &swarm.operator;
        operator
            .ask_with::<TeardownAccepted>(subjects::TEARDOWN, headers, request)
            .await
    };
    let first = ask(&swarm, "rotation-7", &request).await?;
    assert!(!first.repeated);
    agent.succeed(first.operation_id, &["decky-1"]).await?;
    agent.report(&["decky-1"]).await?;
    for crashed in [false, true] {
        if crashed {
            swarm.crash_controller().await?;
        }
        let again = ask(&swarm, "rotation-7", &request).await?;
        let same = TeardownAccepted {
            repeated: true,
            ..first.clone()
        };
        assert_eq!(again, same, "crashed: {crashed}");
        let other = json!({ "host_uuid": agent.host });
        let conflict = ask(&swarm, "rotation-7", &other).await;
        assert_eq!(conflict.refused().code, ErrorCode::IdempotencyConflict);
        for bad in ["", &"k".repeat(129)] {
            let refused = ask(&swarm, bad, &request).await;
            assert_eq!(refused.refused().code, ErrorCode::BadRequest);
        }
    }
    assert_eq!(swarm.operator.states(&agent.host).await?, "decky-1 running");
    assert_eq!(swarm.operator.operations().await?.len(), 1);
    Ok(())
}

/// A host leaves by force with what was on record there, and may come back.
#[tokio::test]
async fn a_host_is_decommissioned_and_enrolled_again() -> TestResult {
    let swarm = Swarm::start().await?;
    let mut agent = swarm.agent("worker-a", &["decky-1"]).await?;
    let open = swarm.operator.teardown(&agent.host, "decky-1").await?;
    let leave = async |force: bool| {
        let request = json!({ "host_uuid": agent.host, "force": force });
        swarm
            .operator
            .ask::<DecommissionAccepted>(subjects::HOSTS_DECOMMISSION, &request)
            .await
    };
    assert_eq!(leave(false).await.refused().code, ErrorCode::BadRequest);
    let gone = leave(true).await?;
    assert_eq!(gone.host.status, HostStatus::Decommissioned);
    assert!(
        gone.detail.contains("may still be running"),
        "{}",
        gone.detail
    );
    assert_eq!(
        leave(true).await.refused().code,
        ErrorCode::HostDecommissioned
    );
    assert_eq!(swarm.operator.shards().await?, []);
    let ended = swarm.operator.operation(open.operation_id).await?;
    assert_eq!(ended.state, OperationState::Failed);
    let heartbeat = agent.report(&["decky-1"]).await;
    assert_eq!(heartbeat.refused().code, ErrorCode::HostDecommissioned);
    let refused = swarm.operator.teardown(&agent.host, None).await;
    assert_eq!(refused.refused().code, ErrorCode::HostDecommissioned);

    let request = json!({ "name": "worker-a", "host_uuid": agent.host });
    let back: EnrollAccepted = swarm.operator.ask(subjects::HOSTS_ENROLL, &request).await?;
    assert!(!back.repeated);
    agent.report(&["decky-1"]).await?;
    assert_eq!(swarm.operator.states(&agent.host).await?, "decky-1 running");
    Ok(())
}

/// An operator asks why a teardown is stuck.
#[tokio::test]
async fn an_open_operation_says_what_it_waits_for() -> TestResult {
    let swarm = Swarm::start().await?;
    let host = swarm.host("worker-a").await?;
    let accepted = swarm.operator.teardown(&host, None).await?;
    let operation = swarm.operator.operation(accepted.operation_id).await?;
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
