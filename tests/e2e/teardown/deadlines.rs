//! What a deadline does: with and without an inventory, and when the truth comes later.

use anyhow::Context;
use scuttle_schemas::agents::ProgressStep;
use scuttle_schemas::operations::{OperationRecord, OperationState};
use scuttle_schemas::{HostId, OperationId};
use scuttle_tests::{Cluster, FakeAgent, TestResult, absent_shard, failed_shard};

/// Asks for a teardown with one second to go, and waits for its end.
async fn let_pass(
    cluster: &Cluster,
    host: &HostId,
    decky: Option<&str>,
) -> anyhow::Result<OperationRecord> {
    let accepted = cluster.operator.tear_down_within(1, host, decky).await?;
    cluster.operator.wait_for_end(accepted.operation_id).await
}

fn error_of(operation: &OperationRecord) -> &str {
    operation
        .error
        .as_ref()
        .map_or("no error", |error| error.as_str())
}

/// The deadline passes and no agent ever started it: `timed_out`, `undelivered`; the shard is
/// `teardown_failed` with that error.
#[tokio::test]
async fn what_no_agent_started_is_undelivered() -> TestResult {
    let cluster = Cluster::start().await?;
    let agent = cluster
        .start_agent("worker-a", &["decky-1", "decky-2"])
        .await?;
    let operation = let_pass(&cluster, &agent.host, Some("decky-1")).await?;
    assert_eq!(operation.state, OperationState::TimedOut);
    assert!(
        error_of(&operation).contains("undelivered"),
        "{operation:?}"
    );
    let finished_at = operation.finished_at.context("it has ended")?;
    assert!(finished_at >= operation.deadline, "not before its deadline");
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "decky-1 teardown_failed, decky-2 running"
    );
    let shard = cluster
        .operator
        .find_shard(&agent.host, "decky-1")
        .await?
        .context("the shard")?;
    assert_eq!(shard.last_error, operation.error);
    Ok(())
}

/// The agent had started: `unfinished`.
#[tokio::test]
async fn what_an_agent_started_is_unfinished() -> TestResult {
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
    assert!(error_of(&operation).contains("unfinished"), "{operation:?}");
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "decky-1 teardown_failed"
    );
    Ok(())
}

/// A full inventory taken since the acceptance lists none of the shards: they were absent, and the
/// operation succeeded.
#[tokio::test]
async fn what_the_inventory_no_longer_lists_is_absent() -> TestResult {
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
        "until its deadline it is left to its operation"
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

/// Some are gone and some are not: the gone ones are removed, the rest fail, and it `timed_out`.
#[tokio::test]
async fn what_the_inventory_still_lists_fails() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster
        .start_agent("worker-a", &["decky-1", "decky-2"])
        .await?;
    let whole = cluster
        .operator
        .tear_down_within(1, &agent.host, None)
        .await?;
    agent.report_inventory(&["decky-2"]).await?;
    let operation = cluster.operator.wait_for_end(whole.operation_id).await?;
    assert_eq!(operation.state, OperationState::TimedOut);
    assert_eq!(operation.counts.absent, 1);
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "decky-2 teardown_failed"
    );
    Ok(())
}

/// An inventory from before the acceptance proves nothing, nor does a heartbeat without one.
#[tokio::test]
async fn an_older_inventory_proves_nothing() -> TestResult {
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

/// A failed shard that a later inventory no longer lists is removed.
#[tokio::test]
async fn a_later_inventory_removes_what_is_gone() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster
        .start_agent("worker-a", &["decky-1", "decky-2"])
        .await?;
    let_pass(&cluster, &agent.host, Some("decky-1")).await?;
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

/// One host whose single decky's teardown has timed out.
async fn timed_out(cluster: &Cluster) -> anyhow::Result<(FakeAgent, OperationId)> {
    let agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let operation = let_pass(cluster, &agent.host, None).await?;
    assert_eq!(operation.state, OperationState::TimedOut);
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "decky-1 teardown_failed"
    );
    Ok((agent, operation.operation_id))
}

/// The agent's success comes after the deadline: the shard goes, and the operation has succeeded after all.
#[tokio::test]
async fn a_late_success_heals() -> TestResult {
    let cluster = Cluster::start().await?;
    let (mut agent, operation) = timed_out(&cluster).await?;
    agent.report_success(operation, &["decky-1"]).await?;
    assert_eq!(cluster.operator.shard_states(&agent.host).await?, "");
    let operation = cluster.operator.operation(operation).await?;
    assert_eq!(operation.state, OperationState::Succeeded);
    assert_eq!(operation.error, None);
    assert_eq!((operation.counts.removed, operation.counts.pending), (1, 0));
    Ok(())
}

/// The agent's failure comes after the deadline: the operation is `failed`, and its error the agent's.
#[tokio::test]
async fn a_late_failure_is_the_truth() -> TestResult {
    let cluster = Cluster::start().await?;
    let (mut agent, operation) = timed_out(&cluster).await?;
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
        .context("the shard")?;
    assert_eq!(shard.last_error, Some("busy".into()));
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "decky-1 teardown_failed"
    );
    let operation = cluster.operator.operation(operation).await?;
    assert_eq!(operation.state, OperationState::Failed);
    assert_eq!(error_of(&operation), "the daemon is away");
    Ok(())
}

/// A late success, while a retry is open: the shard is gone for the retry, too, and the retry still ends by
/// its own result.
#[tokio::test]
async fn a_late_success_while_a_retry_is_open() -> TestResult {
    let cluster = Cluster::start().await?;
    let (mut agent, first) = timed_out(&cluster).await?;
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
