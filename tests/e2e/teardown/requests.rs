//! `cluster.teardown`: what is accepted, what the answer says, and what shows before the agent does anything.

use anyhow::Context;
use scuttle_schemas::operations::{OperationState, OutcomeCounts, ShardOutcome};
use scuttle_schemas::shards::ShardState;
use scuttle_schemas::teardown::DETAIL_QUEUED;
use scuttle_schemas::{ErrorCode, subjects};
use scuttle_tests::{
    Cluster, ExpectRejection, RequestError, TestResult, absent_shard, removed_shard,
};
use serde_json::json;

/// A single decky goes from request to removal; its neighbour is not touched.
#[tokio::test]
async fn a_single_decky_is_torn_down() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster
        .start_agent("worker-a", &["decky-1", "decky-2"])
        .await?;

    let accepted = cluster.operator.tear_down(&agent.host, "decky-1").await?;
    let command = agent.next_command().await?;
    assert_eq!(command.operation_id, accepted.operation_id);
    assert_eq!(command.host_uuid, agent.host);
    assert_eq!(
        command
            .decky_id
            .as_ref()
            .map(ToString::to_string)
            .as_deref(),
        Some("decky-1")
    );
    assert_eq!(command.attempt, 1);
    assert_eq!(command.not_after, accepted.deadline);

    agent
        .report_success(command.operation_id, &["decky-1"])
        .await?;
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "decky-2 running"
    );
    let operation = cluster.operator.operation(accepted.operation_id).await?;
    assert_eq!(operation.state, OperationState::Succeeded);
    assert_eq!(
        operation.counts,
        OutcomeCounts {
            removed: 1,
            ..OutcomeCounts::default()
        }
    );
    assert_eq!(operation.error, None);
    assert!(operation.finished_at.is_some());
    Ok(())
}

/// A whole host: one operation, one command without a decky, every shard with its own outcome.
#[tokio::test]
async fn a_whole_host_is_torn_down() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster
        .start_agent("worker-a", &["decky-1", "decky-2", "decky-3"])
        .await?;
    let other = cluster.start_agent("worker-b", &["decky-1"]).await?;

    let accepted = cluster.operator.tear_down(&agent.host, None).await?;
    assert_eq!((accepted.shards, accepted.decky_id), (3, None));
    let command = agent.next_command().await?;
    assert_eq!(command.decky_id, None);

    let shards = vec![
        removed_shard("decky-1"),
        absent_shard("decky-2"),
        removed_shard("decky-3"),
    ];
    let result = agent.next_success(command.operation_id, shards);
    agent.send_result(&result).await?;
    assert_eq!(cluster.operator.shard_states(&agent.host).await?, "");
    assert_eq!(
        cluster.operator.shard_states(&other.host).await?,
        "decky-1 running"
    );
    let operation = cluster.operator.operation(accepted.operation_id).await?;
    assert_eq!(operation.state, OperationState::Succeeded);
    assert_eq!(
        operation.counts,
        OutcomeCounts {
            removed: 2,
            absent: 1,
            ..OutcomeCounts::default()
        }
    );
    assert_eq!(cluster.operator.host(&agent.host).await?.shards, 0);
    Ok(())
}

/// The answer and `tearing_down` do not wait for the agent, which here never says a word.
#[tokio::test]
async fn the_answer_comes_while_the_agent_is_blocked() -> TestResult {
    let cluster = Cluster::start().await?;
    let agent = cluster
        .start_agent("worker-a", &["decky-1", "decky-2"])
        .await?;

    let request =
        json!({ "host_uuid": agent.host, "decky_id": "decky-2", "reason": "rotating lures" });
    let answer: serde_json::Value = cluster
        .operator
        .request(subjects::TEARDOWN, &request)
        .await?;
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "decky-1 running, decky-2 tearing_down"
    );

    let operations = cluster.operator.list_operations().await?;
    let [operation] = operations.as_slice() else {
        panic!("expected one operation: {operations:?}")
    };
    assert_eq!(operation.state, OperationState::Queued);
    assert_eq!(operation.reason.as_deref(), Some("rotating lures"));
    assert_eq!(
        operation.deadline.millis_since(operation.accepted_at),
        600_000,
        "the usual timeout"
    );
    assert_eq!(operation.finished_at, None);
    assert_eq!(
        operation.counts,
        OutcomeCounts {
            pending: 1,
            ..OutcomeCounts::default()
        }
    );
    let expected = json!({
        "accepted": true, "detail": DETAIL_QUEUED, "operation_id": operation.operation_id,
        "host_uuid": agent.host, "host_name": "worker-a", "decky_id": "decky-2", "shards": 1,
        "deadline": operation.deadline, "repeated": false,
    });
    assert_eq!(answer, expected);

    let shard = cluster
        .operator
        .find_shard(&agent.host, "decky-2")
        .await?
        .context("the shard")?;
    assert_eq!(shard.operation_id, Some(operation.operation_id));
    let whole = cluster.operator.operation(operation.operation_id).await?;
    let outcomes = whole.shards.context("get has the shards")?;
    assert_eq!(outcomes.len(), 1);
    assert_eq!(outcomes[0].decky_id.as_str(), "decky-2");
    assert_eq!(
        (outcomes[0].outcome, &outcomes[0].error),
        (ShardOutcome::Pending, &None)
    );
    Ok(())
}

/// `started` moves the operation to `running`.
#[tokio::test]
async fn progress_moves_the_operation_to_running() -> TestResult {
    use scuttle_schemas::agents::ProgressStep;
    use scuttle_schemas::operations::OperationsUpdated;
    use scuttle_tests::Broadcasts;

    let cluster = Cluster::start().await?;
    let mut agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let mut operations = Broadcasts::<OperationsUpdated>::subscribe(&cluster.operator).await?;
    let accepted = cluster.operator.tear_down(&agent.host, "decky-1").await?;
    let command = agent.next_command().await?;
    agent
        .publish_progress(command.operation_id, ProgressStep::Started)
        .await?;
    let running = |told: &OperationsUpdated| {
        told.updated.iter().any(|operation| {
            operation.operation_id == accepted.operation_id
                && operation.state == OperationState::Running
        })
    };
    operations.wait_for("running", running).await?;

    for step in [
        ProgressStep::Stopping,
        ProgressStep::Removing,
        ProgressStep::Verifying,
    ] {
        agent.publish_progress(command.operation_id, step).await?;
    }
    agent
        .report_success(command.operation_id, &["decky-1"])
        .await?;
    agent
        .publish_progress(command.operation_id, ProgressStep::Started)
        .await?;
    let operation = cluster.operator.operation(accepted.operation_id).await?;
    assert_eq!(
        operation.state,
        OperationState::Succeeded,
        "late progress revives nothing"
    );
    Ok(())
}

/// What is not there is refused by its name, and nothing is stored.
#[tokio::test]
async fn unknown_hosts_and_deckies_are_refused() -> TestResult {
    let cluster = Cluster::start().await?;
    let agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let nobody = "nobody".parse()?;

    for decky in [None, Some("decky-1")] {
        let refused = cluster
            .operator
            .tear_down(&nobody, decky)
            .await
            .expect_rejection();
        assert_eq!(
            (refused.status, refused.code),
            (404, ErrorCode::HostNotFound)
        );
    }
    let refused = cluster
        .operator
        .tear_down(&agent.host, "decky-9")
        .await
        .expect_rejection();
    assert_eq!(
        (refused.status, refused.code),
        (404, ErrorCode::ShardNotFound)
    );
    assert_eq!(cluster.operator.list_operations().await?, []);
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "decky-1 running"
    );
    Ok(())
}

/// A decky of another host is not found, and neither host is touched: no state, no command.
#[tokio::test]
async fn a_decky_of_another_host_is_not_found() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut one = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let mut two = cluster.start_agent("worker-b", &["decky-2"]).await?;
    let before = cluster.operator.list_shards().await?;

    let refused = cluster
        .operator
        .tear_down(&one.host, "decky-2")
        .await
        .expect_rejection();
    assert_eq!(
        (refused.status, refused.code),
        (404, ErrorCode::ShardNotFound)
    );
    assert_eq!(cluster.operator.list_shards().await?, before);
    assert_eq!(cluster.operator.list_operations().await?, []);

    // The first command either agent gets is a later one's.
    for (agent, decky) in [(&mut one, "decky-1"), (&mut two, "decky-2")] {
        let marker = cluster.operator.tear_down(&agent.host, decky).await?;
        let (command, _) = agent.next_delivery().await?;
        assert_eq!(command.operation_id, marker.operation_id);
    }
    Ok(())
}

/// The same decky name on two hosts: only the asked host's goes.
#[tokio::test]
async fn a_decky_name_is_unique_on_its_host_alone() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut one = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let two = cluster.start_agent("worker-b", &["decky-1"]).await?;
    let accepted = cluster.operator.tear_down(&one.host, "decky-1").await?;
    assert_eq!(
        cluster.operator.shard_states(&two.host).await?,
        "decky-1 running"
    );
    one.report_success(accepted.operation_id, &["decky-1"])
        .await?;
    assert_eq!(cluster.operator.shard_states(&one.host).await?, "");
    assert_eq!(
        cluster.operator.shard_states(&two.host).await?,
        "decky-1 running"
    );
    Ok(())
}

/// A host without shards: accepted with none, and the agent is told all the same.
#[tokio::test]
async fn a_host_without_shards_is_accepted() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster.start_agent("worker-a", &[]).await?;
    let accepted = cluster.operator.tear_down(&agent.host, None).await?;
    assert_eq!((accepted.shards, accepted.repeated), (0, false));
    let command = agent.next_command().await?;
    assert_eq!(
        (command.operation_id, command.decky_id),
        (accepted.operation_id, None)
    );

    let result = agent.next_success(command.operation_id, vec![removed_shard("left-over")]);
    agent.send_result(&result).await?;
    let operation = cluster.operator.operation(accepted.operation_id).await?;
    assert_eq!(operation.state, OperationState::Succeeded);
    assert_eq!(cluster.operator.shard_states(&agent.host).await?, "");
    Ok(())
}

/// A hundred teardowns of a hundred hosts whose agents say nothing: all are answered and all commands
/// leave; none waits for another.
#[tokio::test]
async fn many_teardowns_do_not_wait_for_one_another() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agents = Vec::new();
    for number in 0..20 {
        let name = format!("worker-{number}");
        agents.push(
            cluster
                .start_agent(
                    &name,
                    &["decky-1", "decky-2", "decky-3", "decky-4", "decky-5"],
                )
                .await?,
        );
    }
    let hosts: Vec<_> = agents.iter().map(|agent| agent.host.clone()).collect();
    let operator = &cluster.operator;
    let requests = hosts.iter().flat_map(|host| {
        (1..=5).map(move |number| {
            let decky = format!("decky-{number}");
            async move { operator.tear_down(host, decky.as_str()).await }
        })
    });
    let answers: Vec<_> = futures_util::future::join_all(requests).await;
    let answers: Result<Vec<_>, RequestError> = answers.into_iter().collect();
    assert!(
        answers?
            .iter()
            .all(|answer| answer.accepted && !answer.repeated)
    );
    let shards = cluster.operator.list_shards().await?;
    assert_eq!(shards.len(), 100);
    assert!(
        shards
            .iter()
            .all(|shard| shard.state == ShardState::TearingDown)
    );

    // The last host's last decky ends while all others are still open.
    let last = agents.last_mut().context("an agent")?;
    for _ in 0..5 {
        let command = last.next_command().await?;
        let decky = command.decky_id.context("of a single decky")?;
        last.report_success(command.operation_id, &[decky.as_str()])
            .await?;
    }
    let open = cluster.operator.list_operations().await?;
    let queued = open
        .iter()
        .filter(|operation| operation.state == OperationState::Queued);
    assert_eq!(queued.count(), 95);
    for agent in agents.iter_mut().rev().skip(1) {
        for _ in 0..5 {
            agent.next_command().await?;
        }
    }
    Ok(())
}

/// Deadlines at both ends of their range are accepted, and a name may be as long as its rule allows.
#[tokio::test]
async fn the_ends_of_the_ranges_are_accepted() -> TestResult {
    let cluster = Cluster::start().await?;
    let longest = "d".repeat(64);
    let agent = cluster
        .start_agent("worker-a", &["decky-1", &longest])
        .await?;
    let shortest = cluster
        .operator
        .tear_down_within(1, &agent.host, "decky-1")
        .await?;
    let operation = cluster.operator.operation(shortest.operation_id).await?;
    assert_eq!(operation.deadline.millis_since(operation.accepted_at), 1000);
    let longest = cluster
        .operator
        .tear_down_within(86_400, &agent.host, longest.as_str())
        .await?;
    let operation = cluster.operator.operation(longest.operation_id).await?;
    assert_eq!(
        operation.deadline.millis_since(operation.accepted_at),
        86_400_000
    );
    Ok(())
}
