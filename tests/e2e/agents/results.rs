//! Results on `agent.<host_uuid>.results`: how the controller records successes, failures, partial
//! failures and repeated results.

use anyhow::Context;
use scuttle_schemas::agents::DETAIL_UNKNOWN_OPERATION;
use scuttle_schemas::operations::{OperationState, OutcomeCounts, ShardOutcome};
use scuttle_schemas::{OperationId, Text};
use scuttle_tests::{Cluster, TestResult, absent_shard, failed_shard, removed_shard};
use uuid::Uuid;

/// After a failed teardown, the shard is `teardown_failed` and has the error of the result. A retry
/// clears the error and can succeed.
#[tokio::test]
async fn a_failed_teardown_stays_visible_and_can_be_retried() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let first = cluster.operator.tear_down(&agent.host, "decky-1").await?;
    let reason = "network decnet_lan has active endpoints";
    agent
        .report_failure(
            first.operation_id,
            reason,
            vec![failed_shard("decky-1", "container busy")],
        )
        .await?;

    let shard = cluster
        .operator
        .find_shard(&agent.host, "decky-1")
        .await?
        .context("the shard is still on the record")?;
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "decky-1 teardown_failed"
    );
    assert_eq!(shard.last_error, Some("container busy".into()));
    let operation = cluster.operator.operation(first.operation_id).await?;
    assert_eq!(operation.state, OperationState::Failed);
    assert_eq!(operation.error, Some(reason.into()));
    assert_eq!(
        operation.counts,
        OutcomeCounts {
            failed: 1,
            ..OutcomeCounts::default()
        }
    );

    let retry = cluster.operator.tear_down(&agent.host, "decky-1").await?;
    assert!(!retry.repeated);
    let shard = cluster
        .operator
        .find_shard(&agent.host, "decky-1")
        .await?
        .context("the shard is still on the record")?;
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "decky-1 tearing_down"
    );
    assert_eq!(shard.last_error, None, "the retry clears the error");
    agent.next_command().await?;
    assert_eq!(agent.next_command().await?.operation_id, retry.operation_id);
    agent
        .report_success(retry.operation_id, &["decky-1"])
        .await?;
    assert_eq!(cluster.operator.shard_states(&agent.host).await?, "");
    assert_eq!(
        cluster.operator.operation(first.operation_id).await?.state,
        OperationState::Failed
    );
    Ok(())
}

/// Each shard gets its own outcome and error. A shard that the failed result omits gets the
/// operation's error.
#[tokio::test]
async fn a_partial_failure_is_recorded_for_each_shard() -> TestResult {
    let cluster = Cluster::start().await?;
    let deckies = ["decky-1", "decky-2", "decky-3", "decky-4"];
    let mut agent = cluster.start_agent("worker-a", &deckies).await?;
    let accepted = cluster.operator.tear_down(&agent.host, None).await?;
    let shards = vec![
        removed_shard("decky-1"),
        absent_shard("decky-2"),
        failed_shard("decky-3", "busy"),
    ];
    agent
        .report_failure(accepted.operation_id, "the network is in use", shards)
        .await?;

    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "decky-3 teardown_failed, decky-4 teardown_failed"
    );
    for (decky, error) in [("decky-3", "busy"), ("decky-4", "the network is in use")] {
        let shard = cluster
            .operator
            .find_shard(&agent.host, decky)
            .await?
            .context(decky)?;
        assert_eq!(shard.last_error, Some(error.into()), "{decky}");
    }
    let operation = cluster.operator.operation(accepted.operation_id).await?;
    assert_eq!(operation.state, OperationState::Failed);
    assert_eq!(
        operation.counts,
        OutcomeCounts {
            pending: 0,
            removed: 1,
            absent: 1,
            failed: 2
        }
    );
    let outcomes = operation
        .shards
        .context("the operation has the outcomes of its shards")?;
    let to_outcome = |shard: &scuttle_schemas::operations::OperationShard| {
        (shard.decky_id.to_string(), shard.outcome)
    };
    let mut outcomes: Vec<_> = outcomes.iter().map(to_outcome).collect();
    assert!(
        outcomes[..2]
            .iter()
            .all(|(_, outcome)| *outcome == ShardOutcome::Failed),
        "failed shards are listed first"
    );
    outcomes.sort_by(|left, right| left.0.cmp(&right.0));
    assert_eq!(
        outcomes,
        [
            ("decky-1".to_owned(), ShardOutcome::Removed),
            ("decky-2".to_owned(), ShardOutcome::Absent),
            ("decky-3".to_owned(), ShardOutcome::Failed),
            ("decky-4".to_owned(), ShardOutcome::Failed),
        ]
    );
    Ok(())
}

/// A whole-host teardown covers the shards that were registered when it was accepted. When it
/// succeeds, a covered shard that the result omits counts as absent. A shard that was registered
/// later stays, unless the result lists it as removed.
#[tokio::test]
async fn a_whole_host_success_covers_the_shards_at_its_acceptance() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster
        .start_agent("worker-a", &["decky-1", "decky-2"])
        .await?;
    let accepted = cluster.operator.tear_down(&agent.host, None).await?;
    agent
        .report_inventory(&["decky-1", "decky-2", "later-1", "later-2"])
        .await?;
    agent
        .report_success(accepted.operation_id, &["decky-1", "later-1"])
        .await?;
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "later-2 running"
    );
    let operation = cluster.operator.operation(accepted.operation_id).await?;
    assert_eq!(operation.state, OperationState::Succeeded);
    assert_eq!((operation.counts.pending, operation.counts.failed), (0, 0));
    assert_eq!(operation.counts.absent, 1, "decky-2");
    Ok(())
}

/// The failure of a whole-host teardown marks only the shards that were registered when it was
/// accepted. A shard that was registered later keeps its state.
#[tokio::test]
async fn a_whole_host_failure_leaves_later_shards_alone() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let accepted = cluster.operator.tear_down(&agent.host, None).await?;
    agent.report_inventory(&["decky-1", "later-1"]).await?;
    agent
        .report_failure(accepted.operation_id, "no daemon", vec![])
        .await?;
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "decky-1 teardown_failed, later-1 running"
    );
    Ok(())
}

/// The reply to a repeated result is `recorded`. The repeat changes nothing and raises no revision.
#[tokio::test]
async fn a_repeated_result_changes_nothing() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster
        .start_agent("worker-a", &["decky-1", "decky-2"])
        .await?;
    let accepted = cluster.operator.tear_down(&agent.host, "decky-1").await?;
    let result = agent.next_failure(
        accepted.operation_id,
        "busy",
        vec![failed_shard("decky-1", "busy")],
    );
    assert!(agent.send_result(&result).await?.recorded);
    let before = (
        cluster.operator.list_shards_paged(500).await?,
        cluster.operator.list_operations().await?,
    );

    let repeated = agent.send_result(&result).await?;
    assert_eq!((repeated.recorded, repeated.detail), (true, None));
    let after = (
        cluster.operator.list_shards_paged(500).await?,
        cluster.operator.list_operations().await?,
    );
    assert_eq!(before, after);
    Ok(())
}

/// A repeat of an old success does not remove a decky that was deployed again under the same name.
#[tokio::test]
async fn a_repeated_result_does_not_remove_a_redeployed_decky() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let accepted = cluster.operator.tear_down(&agent.host, "decky-1").await?;
    let result = agent.next_success(accepted.operation_id, vec![removed_shard("decky-1")]);
    agent.send_result(&result).await?;
    agent.report_inventory(&["decky-1"]).await?;
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "decky-1 running"
    );
    agent.send_result(&result).await?;
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "decky-1 running"
    );
    Ok(())
}

/// A result for an unknown operation, or for an operation of another host, gets the reply
/// `recorded` so that the agent stops sending it. No record changes.
#[tokio::test]
async fn results_of_unknown_or_foreign_operations_change_nothing() -> TestResult {
    let cluster = Cluster::start().await?;
    let owner = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let mut other = cluster.start_agent("worker-b", &["decky-1"]).await?;
    let accepted = cluster.operator.tear_down(&owner.host, "decky-1").await?;
    let before = (
        cluster.operator.list_shards().await?,
        cluster.operator.list_operations().await?,
    );

    for operation in [OperationId(Uuid::now_v7()), accepted.operation_id] {
        for outcome in [
            other.next_success(operation, vec![removed_shard("decky-1")]),
            other.next_failure(operation, "mine", vec![failed_shard("decky-1", "mine")]),
        ] {
            let reply = other.send_result(&outcome).await?;
            assert_eq!(
                (reply.recorded, reply.detail.as_deref()),
                (true, Some(DETAIL_UNKNOWN_OPERATION))
            );
        }
    }
    let after = (
        cluster.operator.list_shards().await?,
        cluster.operator.list_operations().await?,
    );
    assert_eq!(before, after);
    Ok(())
}

/// If the teardown of one decky fails and the result lists no shards, only that decky is marked.
#[tokio::test]
async fn a_failure_marks_no_shard_outside_the_operation() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster
        .start_agent("worker-a", &["decky-1", "decky-2"])
        .await?;
    let accepted = cluster.operator.tear_down(&agent.host, "decky-1").await?;
    agent
        .report_failure(accepted.operation_id, "no daemon", vec![])
        .await?;
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "decky-1 teardown_failed, decky-2 running"
    );
    Ok(())
}

/// Errors are truncated to 512 characters, not bytes, so that no character is split.
#[tokio::test]
async fn a_long_error_is_truncated_at_a_character_boundary() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let accepted = cluster.operator.tear_down(&agent.host, "decky-1").await?;
    let result = agent.next_failure(
        accepted.operation_id,
        "e",
        vec![failed_shard("decky-1", "e")],
    );
    let mut result = serde_json::to_value(&result)?;
    let long_error = "é".repeat(10_000);
    result["shards"][0]["error"] = long_error.clone().into();
    result["error"] = long_error.into();
    let subject = scuttle_schemas::subjects::AgentChannel::Results.subject(&agent.host);
    let reply: serde_json::Value = agent.client().request(&subject, &result).await?;
    assert_eq!(reply, serde_json::json!({ "recorded": true }));

    let truncated: Text = "é".repeat(512).as_str().into();
    let shard = cluster
        .operator
        .find_shard(&agent.host, "decky-1")
        .await?
        .context("the shard")?;
    assert_eq!(shard.last_error.as_ref(), Some(&truncated));
    let operation = cluster.operator.operation(accepted.operation_id).await?;
    assert_eq!(operation.error, Some(truncated));
    Ok(())
}
