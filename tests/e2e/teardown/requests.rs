//! `swarm.teardown`: which requests are accepted, what the reply contains, and what is in the
//! record before the agent does anything.

use anyhow::Context;
use scuttle_schemas::operations::{OperationState, OutcomeCounts, ShardOutcome};
use scuttle_schemas::shards::ShardState;
use scuttle_schemas::teardown::DETAIL_QUEUED;
use scuttle_schemas::{ErrorCode, subjects};
use scuttle_tests::{
    Cluster, ExpectRejection, RequestError, TestResult, absent_shard, removed_shard,
};
use serde_json::json;

#[tokio::test]
async fn a_decky_is_torn_down_and_its_neighbour_is_not_touched() -> TestResult {
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

#[tokio::test]
async fn a_host_is_torn_down_by_one_operation_with_an_outcome_for_each_shard() -> TestResult {
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

#[tokio::test]
async fn the_reply_does_not_wait_for_the_agent() -> TestResult {
    let cluster = Cluster::start().await?;
    let agent = cluster
        .start_agent("worker-a", &["decky-1", "decky-2"])
        .await?;

    let request =
        json!({ "host_uuid": agent.host, "decky_id": "decky-2", "reason": "rotating lures" });
    let reply: serde_json::Value = cluster
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
        "the default timeout"
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
    assert_eq!(reply, expected);

    let shard = cluster
        .operator
        .find_shard(&agent.host, "decky-2")
        .await?
        .context("the shard is not on record")?;
    assert_eq!(shard.operation_id, Some(operation.operation_id));
    let with_shards = cluster.operator.operation(operation.operation_id).await?;
    let outcomes = with_shards.shards.context("the reply has no shards")?;
    assert_eq!(outcomes.len(), 1);
    assert_eq!(outcomes[0].decky_id.as_str(), "decky-2");
    assert_eq!(
        (outcomes[0].outcome, &outcomes[0].error),
        (ShardOutcome::Pending, &None)
    );
    Ok(())
}

#[tokio::test]
async fn the_progress_step_started_moves_the_operation_to_running() -> TestResult {
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
    let running = |update: &OperationsUpdated| {
        update.updated.iter().any(|operation| {
            operation.operation_id == accepted.operation_id
                && operation.state == OperationState::Running
        })
    };
    operations
        .wait_for("the operation is running", running)
        .await?;

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
        "late progress changed the state"
    );
    Ok(())
}

#[tokio::test]
async fn teardowns_of_unknown_hosts_and_deckies_are_rejected() -> TestResult {
    let cluster = Cluster::start().await?;
    let agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let unknown_host = "nobody".parse()?;

    for decky in [None, Some("decky-1")] {
        let rejection = cluster
            .operator
            .tear_down(&unknown_host, decky)
            .await
            .expect_rejection();
        assert_eq!(
            (rejection.status, rejection.code),
            (404, ErrorCode::HostNotFound)
        );
    }
    let rejection = cluster
        .operator
        .tear_down(&agent.host, "decky-9")
        .await
        .expect_rejection();
    assert_eq!(
        (rejection.status, rejection.code),
        (404, ErrorCode::ShardNotFound)
    );
    assert_eq!(cluster.operator.list_operations().await?, []);
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "decky-1 running"
    );
    Ok(())
}

/// The request changes neither host, and no command is sent.
#[tokio::test]
async fn a_teardown_of_a_decky_of_another_host_is_rejected() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut one = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let mut two = cluster.start_agent("worker-b", &["decky-2"]).await?;
    let before = cluster.operator.list_shards().await?;

    let rejection = cluster
        .operator
        .tear_down(&one.host, "decky-2")
        .await
        .expect_rejection();
    assert_eq!(
        (rejection.status, rejection.code),
        (404, ErrorCode::ShardNotFound)
    );
    assert_eq!(cluster.operator.list_shards().await?, before);
    assert_eq!(cluster.operator.list_operations().await?, []);

    // The first command of each agent belongs to a later request.
    for (agent, decky) in [(&mut one, "decky-1"), (&mut two, "decky-2")] {
        let marker = cluster.operator.tear_down(&agent.host, decky).await?;
        let (command, _) = agent.next_delivery().await?;
        assert_eq!(command.operation_id, marker.operation_id);
    }
    Ok(())
}

#[tokio::test]
async fn a_teardown_does_not_touch_a_decky_with_the_same_name_on_another_host() -> TestResult {
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

/// The agent still receives a command, because it may find deckies that are not in the record.
#[tokio::test]
async fn a_teardown_of_a_host_without_shards_is_accepted() -> TestResult {
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

/// A hundred teardowns are requested for 20 hosts, most of whose agents do nothing. All teardowns
/// are accepted, all commands are sent, and the operations of one host end while the others are
/// open.
#[tokio::test]
async fn many_teardowns_do_not_wait_for_each_other() -> TestResult {
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
    let replies: Vec<_> = futures_util::future::join_all(requests).await;
    let replies: Result<Vec<_>, RequestError> = replies.into_iter().collect();
    assert!(
        replies?
            .iter()
            .all(|reply| reply.accepted && !reply.repeated)
    );
    let shards = cluster.operator.list_shards().await?;
    assert_eq!(shards.len(), 100);
    assert!(
        shards
            .iter()
            .all(|shard| shard.state == ShardState::TearingDown)
    );

    // The operations of the last host end while all others are open.
    let last = agents.last_mut().context("no agents")?;
    for _ in 0..5 {
        let command = last.next_command().await?;
        let decky = command.decky_id.context("the command names no decky")?;
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

#[tokio::test]
async fn the_shortest_and_longest_timeouts_and_the_longest_name_are_accepted() -> TestResult {
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
