//! Deckies that are deployed again: between a dry run and its request, after a failure, and while
//! an operation is open.

use anyhow::Context;
use scuttle_schemas::operations::OperationState;
use scuttle_schemas::shards::ShardState;
use scuttle_schemas::teardown::{TeardownAccepted, TeardownPlan};
use scuttle_schemas::{ErrorCode, subjects};
use scuttle_tests::{Cluster, ExpectRejection, TestResult, failed_shard, removed_shard};
use serde_json::json;

#[tokio::test]
async fn a_plan_is_rejected_after_a_target_was_deployed_again() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster.start_agent("worker-a", &[]).await?;
    agent
        .report_deployments(&[("decky-1", "first"), ("decky-2", "other")])
        .await?;
    let dry_run = json!({ "host_uuid": agent.host, "dry_run": true });
    let plan: TeardownPlan = cluster
        .operator
        .request(subjects::TEARDOWN, &dry_run)
        .await?;
    let deployment = plan.targets[0].deployment.as_ref();
    assert_eq!(
        deployment.map(scuttle_schemas::Deployment::as_str),
        Some("first")
    );

    agent
        .report_deployments(&[("decky-1", "second"), ("decky-2", "other")])
        .await?;
    let planned = json!({ "host_uuid": agent.host, "expect_plan": plan.plan });
    let changed = cluster
        .operator
        .request::<TeardownAccepted>(subjects::TEARDOWN, &planned)
        .await;
    assert_eq!(changed.expect_rejection().code, ErrorCode::PlanChanged);
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "decky-1 running, decky-2 running"
    );
    Ok(())
}

#[tokio::test]
async fn a_new_deployment_takes_the_reported_state_after_a_failure() -> TestResult {
    let mut cluster = Cluster::start().await?;
    let mut agent = cluster.start_agent("worker-a", &[]).await?;
    agent.report_deployments(&[("decky-1", "first")]).await?;
    let failed = cluster.operator.tear_down(&agent.host, "decky-1").await?;
    agent
        .report_failure(
            failed.operation_id,
            "container busy",
            vec![failed_shard("decky-1", "container busy")],
        )
        .await?;
    agent.report_deployments(&[("decky-1", "first")]).await?;
    let states = cluster.operator.shard_states(&agent.host).await?;
    assert_eq!(states, "decky-1 teardown_failed");

    cluster.crash_controller().await?;
    agent.report_deployments(&[("decky-1", "second")]).await?;
    let shard = cluster.operator.find_shard(&agent.host, "decky-1").await?;
    let shard = shard.context("the shard")?;
    assert_eq!(shard.state, ShardState::Running);
    assert_eq!((shard.last_error, shard.operation_id), (None, None));
    Ok(())
}

#[tokio::test]
async fn a_late_result_of_an_old_operation_does_not_change_a_new_deployment() -> TestResult {
    for fails in [false, true] {
        let mut cluster = Cluster::start().await?;
        let mut agent = cluster.start_agent("worker-a", &[]).await?;
        agent.report_deployments(&[("decky-1", "first")]).await?;
        let old = cluster.operator.tear_down(&agent.host, "decky-1").await?;
        let result = if fails {
            let shards = vec![failed_shard("decky-1", "container busy")];
            agent.next_failure(old.operation_id, "container busy", shards)
        } else {
            agent.next_success(old.operation_id, vec![removed_shard("decky-1")])
        };
        // The report of the new deployment and a crash overtake the result.
        agent.report_deployments(&[("decky-1", "second")]).await?;
        cluster.crash_controller().await?;
        agent.send_result(&result).await?;
        let state = cluster.operator.operation(old.operation_id).await?.state;
        let expected = if fails {
            OperationState::Failed
        } else {
            OperationState::Succeeded
        };
        assert_eq!(state, expected);
        let states = cluster.operator.shard_states(&agent.host).await?;
        assert_eq!(states, "decky-1 running", "fails: {fails}");
    }
    Ok(())
}
