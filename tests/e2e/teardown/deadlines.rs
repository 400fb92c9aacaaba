//! What a deadline does: with and without an inventory, and when the truth comes later.

use anyhow::Context;
use scuttle_schemas::agents::ProgressStep;
use scuttle_schemas::operations::{OperationRecord, OperationState};
use scuttle_schemas::{HostId, OperationId};
use scuttle_tests::{FakeAgent, Swarm, TestResult, absent, failed};

/// Asks for a teardown with one second to go, and waits for its end.
async fn let_pass(
    swarm: &Swarm,
    host: &HostId,
    decky: Option<&str>,
) -> anyhow::Result<OperationRecord> {
    let accepted = swarm.operator.teardown_within(1, host, decky).await?;
    swarm.operator.ended(accepted.operation_id).await
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
    let swarm = Swarm::start().await?;
    let agent = swarm.agent("worker-a", &["decky-1", "decky-2"]).await?;
    let operation = let_pass(&swarm, &agent.host, Some("decky-1")).await?;
    assert_eq!(operation.state, OperationState::TimedOut);
    assert!(
        error_of(&operation).contains("undelivered"),
        "{operation:?}"
    );
    let finished_at = operation.finished_at.context("it has ended")?;
    assert!(finished_at >= operation.deadline, "not before its deadline");
    assert_eq!(
        swarm.operator.states(&agent.host).await?,
        "decky-1 teardown_failed, decky-2 running"
    );
    let shard = swarm
        .operator
        .shard(&agent.host, "decky-1")
        .await?
        .context("the shard")?;
    assert_eq!(shard.last_error, operation.error);
    Ok(())
}

/// The agent had started: `unfinished`.
#[tokio::test]
async fn what_an_agent_started_is_unfinished() -> TestResult {
    let swarm = Swarm::start().await?;
    let mut agent = swarm.agent("worker-a", &["decky-1"]).await?;
    let accepted = swarm.operator.teardown_within(1, &agent.host, None).await?;
    agent.command().await?;
    agent
        .progress(accepted.operation_id, ProgressStep::Started)
        .await?;
    let operation = swarm.operator.ended(accepted.operation_id).await?;
    assert_eq!(operation.state, OperationState::TimedOut);
    assert!(error_of(&operation).contains("unfinished"), "{operation:?}");
    assert_eq!(
        swarm.operator.states(&agent.host).await?,
        "decky-1 teardown_failed"
    );
    Ok(())
}

/// A full inventory taken since the acceptance lists none of the shards: they were absent, and the
/// operation succeeded.
#[tokio::test]
async fn what_the_inventory_no_longer_lists_is_absent() -> TestResult {
    let swarm = Swarm::start().await?;
    let mut agent = swarm
        .agent("worker-a", &["decky-1", "decky-2", "decky-3"])
        .await?;
    let single = swarm
        .operator
        .teardown_within(1, &agent.host, "decky-3")
        .await?;
    agent.report(&["decky-1", "decky-2"]).await?;
    assert_eq!(
        swarm.operator.states(&agent.host).await?,
        "decky-1 running, decky-2 running, decky-3 tearing_down",
        "until its deadline it is left to its operation"
    );
    let operation = swarm.operator.ended(single.operation_id).await?;
    assert_eq!(operation.state, OperationState::Succeeded);
    assert_eq!((operation.counts.absent, operation.counts.pending), (1, 0));
    assert_eq!(
        swarm.operator.states(&agent.host).await?,
        "decky-1 running, decky-2 running"
    );
    Ok(())
}

/// Some are gone and some are not: the gone ones are removed, the rest fail, and it `timed_out`.
#[tokio::test]
async fn what_the_inventory_still_lists_fails() -> TestResult {
    let swarm = Swarm::start().await?;
    let mut agent = swarm.agent("worker-a", &["decky-1", "decky-2"]).await?;
    let whole = swarm.operator.teardown_within(1, &agent.host, None).await?;
    agent.report(&["decky-2"]).await?;
    let operation = swarm.operator.ended(whole.operation_id).await?;
    assert_eq!(operation.state, OperationState::TimedOut);
    assert_eq!(operation.counts.absent, 1);
    assert_eq!(
        swarm.operator.states(&agent.host).await?,
        "decky-2 teardown_failed"
    );
    Ok(())
}

/// An inventory from before the acceptance proves nothing, nor does a heartbeat without one.
#[tokio::test]
async fn an_older_inventory_proves_nothing() -> TestResult {
    let swarm = Swarm::start().await?;
    let mut agent = swarm.agent("worker-a", &["decky-1", "decky-2"]).await?;
    agent.report(&["decky-1"]).await?;
    assert_eq!(
        swarm.operator.states(&agent.host).await?,
        "decky-1 running, decky-2 degraded"
    );
    let accepted = swarm
        .operator
        .teardown_within(1, &agent.host, "decky-2")
        .await?;
    agent.beat().await?;
    let operation = swarm.operator.ended(accepted.operation_id).await?;
    assert_eq!(operation.state, OperationState::TimedOut);
    assert_eq!(
        swarm.operator.states(&agent.host).await?,
        "decky-1 running, decky-2 teardown_failed"
    );
    Ok(())
}

/// A failed shard that a later inventory no longer lists is removed.
#[tokio::test]
async fn a_later_inventory_removes_what_is_gone() -> TestResult {
    let swarm = Swarm::start().await?;
    let mut agent = swarm.agent("worker-a", &["decky-1", "decky-2"]).await?;
    let_pass(&swarm, &agent.host, Some("decky-1")).await?;
    agent.report(&["decky-1", "decky-2"]).await?;
    assert_eq!(
        swarm.operator.states(&agent.host).await?,
        "decky-1 teardown_failed, decky-2 running"
    );
    agent.report(&["decky-2"]).await?;
    assert_eq!(swarm.operator.states(&agent.host).await?, "decky-2 running");
    Ok(())
}

/// One host whose single decky's teardown has timed out.
async fn timed_out(swarm: &Swarm) -> anyhow::Result<(FakeAgent, OperationId)> {
    let agent = swarm.agent("worker-a", &["decky-1"]).await?;
    let operation = let_pass(swarm, &agent.host, None).await?;
    assert_eq!(operation.state, OperationState::TimedOut);
    assert_eq!(
        swarm.operator.states(&agent.host).await?,
        "decky-1 teardown_failed"
    );
    Ok((agent, operation.operation_id))
}

/// The agent's success comes after the deadline: the shard goes, and the operation has succeeded after all.
#[tokio::test]
async fn a_late_success_heals() -> TestResult {
    let swarm = Swarm::start().await?;
    let (mut agent, operation) = timed_out(&swarm).await?;
    agent.succeed(operation, &["decky-1"]).await?;
    assert_eq!(swarm.operator.states(&agent.host).await?, "");
    let operation = swarm.operator.operation(operation).await?;
    assert_eq!(operation.state, OperationState::Succeeded);
    assert_eq!(operation.error, None);
    assert_eq!((operation.counts.removed, operation.counts.pending), (1, 0));
    Ok(())
}

/// The agent's failure comes after the deadline: the operation is `failed`, and its error the agent's.
#[tokio::test]
async fn a_late_failure_is_the_truth() -> TestResult {
    let swarm = Swarm::start().await?;
    let (mut agent, operation) = timed_out(&swarm).await?;
    agent
        .fail(
            operation,
            "the daemon is away",
            vec![failed("decky-1", "busy")],
        )
        .await?;
    let shard = swarm
        .operator
        .shard(&agent.host, "decky-1")
        .await?
        .context("the shard")?;
    assert_eq!(shard.last_error, Some("busy".into()));
    assert_eq!(
        swarm.operator.states(&agent.host).await?,
        "decky-1 teardown_failed"
    );
    let operation = swarm.operator.operation(operation).await?;
    assert_eq!(operation.state, OperationState::Failed);
    assert_eq!(error_of(&operation), "the daemon is away");
    Ok(())
}

/// A late success, while a retry is open: the shard is gone for the retry, too, and the retry still ends by
/// its own result.
#[tokio::test]
async fn a_late_success_while_a_retry_is_open() -> TestResult {
    let swarm = Swarm::start().await?;
    let (mut agent, first) = timed_out(&swarm).await?;
    let retry = swarm.operator.teardown(&agent.host, "decky-1").await?;
    assert_ne!(retry.operation_id, first);
    agent.succeed(first, &["decky-1"]).await?;
    assert_eq!(swarm.operator.states(&agent.host).await?, "");
    assert_eq!(
        swarm.operator.operation(first).await?.state,
        OperationState::Succeeded
    );
    let result = agent.result(retry.operation_id, vec![absent("decky-1")]);
    agent.conclude(&result).await?;
    let retry = swarm.operator.operation(retry.operation_id).await?;
    assert_eq!(retry.state, OperationState::Succeeded);
    Ok(())
}
