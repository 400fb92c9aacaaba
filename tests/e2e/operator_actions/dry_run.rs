//! Dry runs of `swarm.teardown`, and plans: what a teardown would remove.

use scuttle_schemas::teardown::{TeardownAccepted, TeardownPlan};
use scuttle_schemas::{ErrorCode, subjects};
use scuttle_tests::{Cluster, ExpectRejection, TestResult};
use serde_json::json;

#[tokio::test]
async fn a_dry_run_stores_nothing_and_a_changed_plan_is_rejected() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster
        .start_agent("worker-a", &["decky-1", "decky-2"])
        .await?;
    let dry_run = json!({ "host_uuid": agent.host, "dry_run": true });
    let plan: TeardownPlan = cluster
        .operator
        .request(subjects::TEARDOWN, &dry_run)
        .await?;
    assert!(!plan.accepted);
    assert_eq!(plan.detail, "dry run");
    assert_eq!((plan.targets.len(), plan.total), (2, 2));
    assert!(
        cluster.operator.list_operations().await?.is_empty(),
        "the dry run created an operation"
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
    // The third decky is not reported, but still a target: it is degraded, not removed.
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
