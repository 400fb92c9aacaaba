//! The end of an operation at its deadline, with and without an inventory, and results that arrive
//! later.

use anyhow::Context;
use scuttle_schemas::agents::ProgressStep;
use scuttle_schemas::operations::{OperationRecord, OperationState};
use scuttle_schemas::{HostId, OperationId};
use scuttle_tests::{Cluster, FakeAgent, TestResult, absent_shard, failed_shard};

/// Requests a teardown whose deadline is in one second, and waits until the operation ends.
async fn tear_down_and_time_out(
    cluster: &Cluster,
    host: &HostId,
    decky: Option<&str>,
) -> anyhow::Result<OperationRecord> {
    let accepted = cluster.operator.tear_down_within(1, host, decky).await?;
    cluster.operator.wait_for_end(accepted.operation_id).await
}

fn error_text(operation: &OperationRecord) -> &str {
    operation
        .error
        .as_ref()
        .map_or("no error", |error| error.as_str())
}

#[tokio::test]
async fn an_operation_that_no_agent_started_times_out_as_undelivered() -> TestResult {
    let cluster = Cluster::start().await?;
    let agent = cluster
        .start_agent("worker-a", &["decky-1", "decky-2"])
        .await?;
    let operation = tear_down_and_time_out(&cluster, &agent.host, Some("decky-1")).await?;
    assert_eq!(operation.state, OperationState::TimedOut);
    assert!(
        error_text(&operation).contains("undelivered"),
        "{operation:?}"
    );
    let finished_at = operation
        .finished_at
        .context("the operation has not ended")?;
    assert!(
        finished_at >= operation.deadline,
        "the operation ended before its deadline"
    );
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "decky-1 teardown_failed, decky-2 running"
    );
    let shard = cluster
        .operator
        .find_shard(&agent.host, "decky-1")
        .await?
        .context("the shard is not on record")?;
    assert_eq!(shard.last_error, operation.error);
    Ok(())
}

#[tokio::test]
async fn an_operation_that_an_agent_started_times_out_as_unfinished() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let accepted = cluster
        .operator
        .tear_down_within(1, &agent.host, None)
        .await?;
    agent.next_command().await?;
    agent
        .publish_progress(accepted.operation_id, ProgressStep::Started)
        .await?;
    let operation = cluster.operator.wait_for_end(accepted.operation_id).await?;
    assert_eq!(operation.state, OperationState::TimedOut);
    assert!(
        error_text(&operation).contains("unfinished"),
        "{operation:?}"
    );
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "decky-1 teardown_failed"
    );
    Ok(())
}

#[tokio::test]
async fn an_operation_succeeds_at_its_deadline_if_a_later_inventory_does_not_list_its_shards()
-> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster
        .start_agent("worker-a", &["decky-1", "decky-2", "decky-3"])
        .await?;
    let single = cluster
        .operator
        .tear_down_within(1, &agent.host, "decky-3")
        .await?;
    agent.report_inventory(&["decky-1", "decky-2"]).await?;
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "decky-1 running, decky-2 running, decky-3 tearing_down",
        "until the deadline, the shard is left to its operation"
    );
    let operation = cluster.operator.wait_for_end(single.operation_id).await?;
    assert_eq!(operation.state, OperationState::Succeeded);
    assert_eq!((operation.counts.absent, operation.counts.pending), (1, 0));
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "decky-1 running, decky-2 running"
    );
    Ok(())
}

#[tokio::test]
async fn an_operation_times_out_if_a_later_inventory_still_lists_one_of_its_shards() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster
        .start_agent("worker-a", &["decky-1", "decky-2"])
        .await?;
    let accepted = cluster
        .operator
        .tear_down_within(1, &agent.host, None)
        .await?;
    agent.report_inventory(&["decky-2"]).await?;
    let operation = cluster.operator.wait_for_end(accepted.operation_id).await?;
    assert_eq!(operation.state, OperationState::TimedOut);
    assert_eq!(operation.counts.absent, 1);
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "decky-2 teardown_failed"
    );
    Ok(())
}

/// Neither an inventory from before the acceptance nor a later heartbeat without an inventory
/// proves that a decky is gone.
#[tokio::test]
async fn an_inventory_from_before_the_acceptance_does_not_count_at_the_deadline() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster
        .start_agent("worker-a", &["decky-1", "decky-2"])
        .await?;
    agent.report_inventory(&["decky-1"]).await?;
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "decky-1 running, decky-2 degraded"
    );
    let accepted = cluster
        .operator
        .tear_down_within(1, &agent.host, "decky-2")
        .await?;
    agent.send_heartbeat().await?;
    let operation = cluster.operator.wait_for_end(accepted.operation_id).await?;
    assert_eq!(operation.state, OperationState::TimedOut);
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "decky-1 running, decky-2 teardown_failed"
    );
    Ok(())
}

#[tokio::test]
async fn a_failed_shard_is_removed_when_a_later_inventory_does_not_list_it() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster
        .start_agent("worker-a", &["decky-1", "decky-2"])
        .await?;
    tear_down_and_time_out(&cluster, &agent.host, Some("decky-1")).await?;
    agent.report_inventory(&["decky-1", "decky-2"]).await?;
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "decky-1 teardown_failed, decky-2 running"
    );
    agent.report_inventory(&["decky-2"]).await?;
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "decky-2 running"
    );
    Ok(())
}

/// Starts a host with one decky, and lets the teardown of the decky time out.
async fn start_timed_out_teardown(cluster: &Cluster) -> anyhow::Result<(FakeAgent, OperationId)> {
    let agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let operation = tear_down_and_time_out(cluster, &agent.host, None).await?;
    assert_eq!(operation.state, OperationState::TimedOut);
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "decky-1 teardown_failed"
    );
    Ok((agent, operation.operation_id))
}

#[tokio::test]
async fn a_success_after_the_deadline_removes_the_shard_and_changes_the_state() -> TestResult {
    let cluster = Cluster::start().await?;
    let (mut agent, operation) = start_timed_out_teardown(&cluster).await?;
    agent.report_success(operation, &["decky-1"]).await?;
    assert_eq!(cluster.operator.shard_states(&agent.host).await?, "");
    let operation = cluster.operator.operation(operation).await?;
    assert_eq!(operation.state, OperationState::Succeeded);
    assert_eq!(operation.error, None);
    assert_eq!((operation.counts.removed, operation.counts.pending), (1, 0));
    Ok(())
}

#[tokio::test]
async fn a_failure_after_the_deadline_replaces_the_error() -> TestResult {
    let cluster = Cluster::start().await?;
    let (mut agent, operation) = start_timed_out_teardown(&cluster).await?;
    agent
        .report_failure(
            operation,
            "the daemon is away",
            vec![failed_shard("decky-1", "busy")],
        )
        .await?;
    let shard = cluster
        .operator
        .find_shard(&agent.host, "decky-1")
        .await?
        .context("the shard is not on record")?;
    assert_eq!(shard.last_error, Some("busy".into()));
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "decky-1 teardown_failed"
    );
    let operation = cluster.operator.operation(operation).await?;
    assert_eq!(operation.state, OperationState::Failed);
    assert_eq!(error_text(&operation), "the daemon is away");
    Ok(())
}

/// The late success removes the shard even though a retry is open, and the retry ends with its own
/// result.
#[tokio::test]
async fn a_late_success_removes_the_shard_while_a_retry_is_open() -> TestResult {
    let cluster = Cluster::start().await?;
    let (mut agent, first) = start_timed_out_teardown(&cluster).await?;
    let retry = cluster.operator.tear_down(&agent.host, "decky-1").await?;
    assert_ne!(retry.operation_id, first);
    agent.report_success(first, &["decky-1"]).await?;
    assert_eq!(cluster.operator.shard_states(&agent.host).await?, "");
    assert_eq!(
        cluster.operator.operation(first).await?.state,
        OperationState::Succeeded
    );
    let result = agent.next_success(retry.operation_id, vec![absent_shard("decky-1")]);
    agent.send_result(&result).await?;
    let retry = cluster.operator.operation(retry.operation_id).await?;
    assert_eq!(retry.state, OperationState::Succeeded);
    Ok(())
}
