//! Teardown requests that overlap: the same target again, a decky of a host that is being torn
//! down, and a host with deckies that are being torn down.

use std::time::{Duration, Instant};

use scuttle_schemas::agents::ProgressStep;
use scuttle_schemas::operations::{OperationRecord, OperationState};
use scuttle_schemas::teardown::{DETAIL_IN_PROGRESS, DETAIL_QUEUED, TeardownAccepted};
use scuttle_tests::{Cluster, TestResult, failed_shard, wait_until};

#[tokio::test]
async fn a_repeated_target_creates_no_second_operation_or_command() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut one = cluster
        .start_agent("worker-a", &["decky-1", "decky-2"])
        .await?;
    let mut two = cluster
        .start_agent("worker-b", &["decky-1", "decky-2"])
        .await?;

    for (agent, target) in [(&mut one, Some("decky-1")), (&mut two, None)] {
        let start = Instant::now();
        let first = cluster.operator.tear_down(&agent.host, target).await?;
        assert_eq!(
            (first.detail.as_str(), first.repeated),
            (DETAIL_QUEUED, false)
        );
        let command = agent.next_command().await?;
        let check_repeat = async || {
            let again = cluster
                .operator
                .tear_down_within(7, &agent.host, target)
                .await?;
            let expected = TeardownAccepted {
                detail: DETAIL_IN_PROGRESS.to_owned(),
                repeated: true,
                ..first.clone()
            };
            assert_eq!(again, expected);
            anyhow::Ok(())
        };
        check_repeat().await?;

        // A running operation is not resent by the backoff, so the next command belongs to the
        // repeat or to the marker.
        agent
            .publish_progress(command.operation_id, ProgressStep::Started)
            .await?;
        let is_running = |operation: &OperationRecord| operation.state == OperationState::Running;
        let get = || cluster.operator.operation(first.operation_id);
        let attempts = wait_until("the operation is running", get, is_running)
            .await?
            .attempts;
        let by_backoff = start.elapsed() > Duration::from_millis(500);
        assert!(
            attempts == 1 || by_backoff,
            "the repeat while the operation was queued sent a command"
        );
        check_repeat().await?;
        agent
            .report_inventory(&["decky-1", "decky-2", "decky-3"])
            .await?;
        let marker = cluster.operator.tear_down(&agent.host, "decky-3").await?;
        loop {
            let (command, _) = agent.next_delivery().await?;
            if command.operation_id == marker.operation_id {
                break;
            }
            assert!(command.attempt <= attempts, "resent: {command:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_request_after_the_end_of_an_operation_creates_a_new_one() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let first = cluster.operator.tear_down(&agent.host, "decky-1").await?;
    agent
        .publish_progress(first.operation_id, ProgressStep::Started)
        .await?;
    let again = cluster.operator.tear_down(&agent.host, "decky-1").await?;
    assert_eq!(
        (again.operation_id, again.repeated),
        (first.operation_id, true)
    );
    agent
        .report_failure(
            first.operation_id,
            "busy",
            vec![failed_shard("decky-1", "busy")],
        )
        .await?;
    let second = cluster.operator.tear_down(&agent.host, "decky-1").await?;
    assert_ne!(second.operation_id, first.operation_id);
    assert!(!second.repeated);
    assert!(
        second.operation_id > first.operation_id,
        "operation ids increase"
    );
    Ok(())
}

#[tokio::test]
async fn a_decky_is_covered_by_the_open_teardown_of_its_host() -> TestResult {
    let cluster = Cluster::start().await?;
    let agent = cluster
        .start_agent("worker-a", &["decky-1", "decky-2"])
        .await?;
    let host_teardown = cluster.operator.tear_down(&agent.host, None).await?;
    let covered = cluster.operator.tear_down(&agent.host, "decky-2").await?;
    assert_eq!(covered.operation_id, host_teardown.operation_id);
    assert_eq!(
        (covered.detail.as_str(), covered.repeated),
        (DETAIL_IN_PROGRESS, true)
    );
    assert_eq!(cluster.operator.list_operations().await?.len(), 1);
    Ok(())
}

/// Each of the two operations ends with its own result. A decky that one operation has removed may
/// count as absent for the other.
#[tokio::test]
async fn a_host_teardown_is_a_new_operation_while_single_deckies_are_open() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster
        .start_agent("worker-a", &["decky-1", "decky-2"])
        .await?;
    let single = cluster.operator.tear_down(&agent.host, "decky-1").await?;
    let host_teardown = cluster.operator.tear_down(&agent.host, None).await?;
    assert_ne!(host_teardown.operation_id, single.operation_id);
    assert_eq!((host_teardown.shards, host_teardown.repeated), (2, false));
    assert_eq!(
        agent.next_command().await?.operation_id,
        single.operation_id,
        "commands are sent in the order of acceptance"
    );
    assert_eq!(
        agent.next_command().await?.operation_id,
        host_teardown.operation_id
    );
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "decky-1 tearing_down, decky-2 tearing_down"
    );

    agent
        .report_success(single.operation_id, &["decky-1"])
        .await?;
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "decky-2 tearing_down"
    );
    agent
        .report_success(host_teardown.operation_id, &["decky-2"])
        .await?;
    assert_eq!(cluster.operator.shard_states(&agent.host).await?, "");
    for id in [single.operation_id, host_teardown.operation_id] {
        assert_eq!(
            cluster.operator.operation(id).await?.state,
            OperationState::Succeeded
        );
    }
    let operation = cluster
        .operator
        .operation(host_teardown.operation_id)
        .await?;
    assert_eq!((operation.counts.pending, operation.counts.failed), (0, 0));
    assert_eq!(operation.counts.removed + operation.counts.absent, 2);
    Ok(())
}

#[tokio::test]
async fn a_shard_registered_after_a_host_teardown_is_not_covered_by_it() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut one = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let mut two = cluster.start_agent("worker-b", &["decky-1"]).await?;
    for (agent, target) in [(&mut one, None), (&mut two, Some("decky-2"))] {
        let first = cluster.operator.tear_down(&agent.host, None).await?;
        agent.report_inventory(&["decky-1", "decky-2"]).await?;
        assert_eq!(
            cluster.operator.shard_states(&agent.host).await?,
            "decky-1 tearing_down, decky-2 running"
        );
        let second = cluster.operator.tear_down(&agent.host, target).await?;
        assert_ne!(second.operation_id, first.operation_id);
        assert!(!second.repeated);
        assert_eq!(
            cluster.operator.shard_states(&agent.host).await?,
            "decky-1 tearing_down, decky-2 tearing_down"
        );
    }
    Ok(())
}

#[tokio::test]
async fn the_failure_of_an_older_operation_does_not_mark_a_shard_of_a_newer_one() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster
        .start_agent("worker-a", &["decky-1", "decky-2"])
        .await?;
    let single = cluster.operator.tear_down(&agent.host, "decky-1").await?;
    let host_teardown = cluster.operator.tear_down(&agent.host, None).await?;
    agent
        .report_failure(
            single.operation_id,
            "busy",
            vec![failed_shard("decky-1", "busy")],
        )
        .await?;
    assert_eq!(
        cluster.operator.operation(single.operation_id).await?.state,
        OperationState::Failed
    );
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "decky-1 tearing_down, decky-2 tearing_down"
    );
    agent
        .report_success(host_teardown.operation_id, &["decky-1", "decky-2"])
        .await?;
    assert_eq!(cluster.operator.shard_states(&agent.host).await?, "");
    Ok(())
}
