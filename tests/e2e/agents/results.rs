//! `agent.<host_uuid>.results`: what the controller does with each, in whatever state the operation is.

use anyhow::Context;
use scuttle_schemas::agents::DETAIL_UNKNOWN_OPERATION;
use scuttle_schemas::operations::{OperationState, OutcomeCounts, ShardOutcome};
use scuttle_schemas::{OperationId, Text};
use scuttle_tests::{Cluster, TestResult, absent_shard, failed_shard, removed_shard};
use uuid::Uuid;

/// A failure leaves `teardown_failed` with its error; asking again clears the error and works.
#[tokio::test]
async fn a_failure_is_seen_and_a_retry_works() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let first = cluster.operator.tear_down(&agent.host, "decky-1").await?;
    let why = "network decnet_lan has active endpoints";
    agent
        .report_failure(
            first.operation_id,
            why,
            vec![failed_shard("decky-1", "container busy")],
        )
        .await?;

    let shard = cluster
        .operator
        .find_shard(&agent.host, "decky-1")
        .await?
        .context("still there")?;
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "decky-1 teardown_failed"
    );
    assert_eq!(shard.last_error, Some("container busy".into()));
    let operation = cluster.operator.operation(first.operation_id).await?;
    assert_eq!(operation.state, OperationState::Failed);
    assert_eq!(operation.error, Some(why.into()));
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
        .context("still there")?;
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "decky-1 tearing_down"
    );
    assert_eq!(shard.last_error, None, "the operator tries again");
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

/// Each shard has its own outcome: what went is removed, what failed says its own error, and what the
/// failure does not mention has the operation's.
#[tokio::test]
async fn a_partial_failure_is_told_by_shard() -> TestResult {
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
    let outcomes = operation.shards.context("get has the shards")?;
    let of = |shard: &scuttle_schemas::operations::OperationShard| {
        (shard.decky_id.to_string(), shard.outcome)
    };
    let mut outcomes: Vec<_> = outcomes.iter().map(of).collect();
    assert!(
        outcomes[..2]
            .iter()
            .all(|(_, outcome)| *outcome == ShardOutcome::Failed),
        "failed ones first"
    );
    outcomes.sort_by(|one, other| one.0.cmp(&other.0));
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

/// On a whole-host success, a covered shard that is not mentioned counts as absent; one registered after
/// the acceptance stays, unless it is mentioned.
#[tokio::test]
async fn a_whole_host_success_covers_what_it_was_accepted_for() -> TestResult {
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

/// A whole-host failure marks covered shards only: one registered later keeps its state.
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

/// A repeat is answered `recorded` and changes nothing: no revision moves.
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

/// A repeat of an old success does not remove the decky that was deployed anew under the same name.
#[tokio::test]
async fn a_repeated_result_does_not_touch_a_decky_deployed_anew() -> TestResult {
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

/// A result for an unknown operation, or one of another host, is answered so that the agent stops, and
/// changes nothing anywhere.
#[tokio::test]
async fn results_of_unknown_or_foreign_operations_change_nothing() -> TestResult {
    let cluster = Cluster::start().await?;
    let one = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let mut two = cluster.start_agent("worker-b", &["decky-1"]).await?;
    let accepted = cluster.operator.tear_down(&one.host, "decky-1").await?;
    let before = (
        cluster.operator.list_shards().await?,
        cluster.operator.list_operations().await?,
    );

    for operation in [OperationId(Uuid::now_v7()), accepted.operation_id] {
        for outcome in [
            two.next_success(operation, vec![removed_shard("decky-1")]),
            two.next_failure(operation, "mine", vec![failed_shard("decky-1", "mine")]),
        ] {
            let answer = two.send_result(&outcome).await?;
            assert_eq!(
                (answer.recorded, answer.detail.as_deref()),
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

/// A single decky's result that speaks of another decky of the host, too: the other goes only if the agent
/// said it is gone; it is not the operation's to fail.
#[tokio::test]
async fn a_failure_marks_no_shard_that_the_operation_does_not_cover() -> TestResult {
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

/// An error is cut to 512 characters, at a character boundary.
#[tokio::test]
async fn a_long_error_is_cut_at_a_character() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let accepted = cluster.operator.tear_down(&agent.host, "decky-1").await?;
    let result = agent.next_failure(
        accepted.operation_id,
        "e",
        vec![failed_shard("decky-1", "e")],
    );
    let mut result = serde_json::to_value(&result)?;
    let long = "é".repeat(10_000);
    result["shards"][0]["error"] = long.clone().into();
    result["error"] = long.into();
    let subject = scuttle_schemas::subjects::AgentChannel::Results.subject(&agent.host);
    let answer: serde_json::Value = agent.client().request(&subject, &result).await?;
    assert_eq!(answer, serde_json::json!({ "recorded": true }));

    let cut: Text = "é".repeat(512).as_str().into();
    let shard = cluster
        .operator
        .find_shard(&agent.host, "decky-1")
        .await?
        .context("the shard")?;
    assert_eq!(shard.last_error.as_ref(), Some(&cut));
    let operation = cluster.operator.operation(accepted.operation_id).await?;
    assert_eq!(operation.error, Some(cut));
    Ok(())
}
