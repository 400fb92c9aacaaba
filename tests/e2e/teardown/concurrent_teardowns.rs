//! Teardowns that meet: the same target again, a decky under its host's teardown, a host over its
//! deckies' teardowns.

use std::time::{Duration, Instant};

use scuttle_schemas::agents::ProgressStep;
use scuttle_schemas::operations::{OperationRecord, OperationState};
use scuttle_schemas::teardown::{DETAIL_IN_PROGRESS, DETAIL_QUEUED, TeardownAccepted};
use scuttle_tests::{Cluster, TestResult, failed_shard, wait_until};

/// The same decky and the same host asked twice: one operation and one command each.
#[tokio::test]
async fn the_same_target_twice_makes_one_command() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut one = cluster
        .start_agent("worker-a", &["decky-1", "decky-2"])
        .await?;
    let mut two = cluster
        .start_agent("worker-b", &["decky-1", "decky-2"])
        .await?;

    for (agent, target) in [(&mut one, Some("decky-1")), (&mut two, None)] {
        let asked = Instant::now();
        let first = cluster.operator.tear_down(&agent.host, target).await?;
        assert_eq!(
            (first.detail.as_str(), first.repeated),
            (DETAIL_QUEUED, false)
        );
        let command = agent.next_command().await?;
        let repeat_is_the_same = async || {
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
        repeat_is_the_same().await?;

        // Once it runs, the backoff sends nothing: the next command can only be a repeat's, or the marker.
        agent
            .publish_progress(command.operation_id, ProgressStep::Started)
            .await?;
        let is_running = |operation: &OperationRecord| operation.state == OperationState::Running;
        let ask = || cluster.operator.operation(first.operation_id);
        let attempts = wait_until("running", ask, is_running).await?.attempts;
        let by_backoff = asked.elapsed() > Duration::from_millis(500);
        assert!(
            attempts == 1 || by_backoff,
            "the repeat while queued sent nothing"
        );
        repeat_is_the_same().await?;
        agent
            .report_inventory(&["decky-1", "decky-2", "decky-3"])
            .await?;
        let marker = cluster.operator.tear_down(&agent.host, "decky-3").await?;
        loop {
            let (command, _) = agent.next_delivery().await?;
            if command.operation_id == marker.operation_id {
                break;
            }
            assert!(command.attempt <= attempts, "sent again: {command:?}");
        }
    }
    Ok(())
}

/// It is the same while it runs; after it has ended, asking again makes a new operation.
#[tokio::test]
async fn a_target_asked_again_after_the_end_is_a_new_operation() -> TestResult {
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
    assert!(second.operation_id > first.operation_id, "a UUIDv7 each");
    Ok(())
}

/// One decky under an open whole-host operation: that operation's id, and no command of its own.
#[tokio::test]
async fn a_decky_is_covered_by_its_hosts_teardown() -> TestResult {
    let cluster = Cluster::start().await?;
    let agent = cluster
        .start_agent("worker-a", &["decky-1", "decky-2"])
        .await?;
    let whole = cluster.operator.tear_down(&agent.host, None).await?;
    let covered = cluster.operator.tear_down(&agent.host, "decky-2").await?;
    assert_eq!(covered.operation_id, whole.operation_id);
    assert_eq!(
        (covered.detail.as_str(), covered.repeated),
        (DETAIL_IN_PROGRESS, true)
    );
    assert_eq!(cluster.operator.list_operations().await?.len(), 1);
    Ok(())
}

/// The whole host over open single deckies: a new operation that covers every shard; each ends by its own
/// result, and what one has removed the other finds absent.
#[tokio::test]
async fn a_host_over_open_deckies_is_a_new_operation() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster
        .start_agent("worker-a", &["decky-1", "decky-2"])
        .await?;
    let single = cluster.operator.tear_down(&agent.host, "decky-1").await?;
    let whole = cluster.operator.tear_down(&agent.host, None).await?;
    assert_ne!(whole.operation_id, single.operation_id);
    assert_eq!((whole.shards, whole.repeated), (2, false));
    assert_eq!(
        agent.next_command().await?.operation_id,
        single.operation_id,
        "in order of acceptance"
    );
    assert_eq!(agent.next_command().await?.operation_id, whole.operation_id);
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
        .report_success(whole.operation_id, &["decky-2"])
        .await?;
    assert_eq!(cluster.operator.shard_states(&agent.host).await?, "");
    for id in [single.operation_id, whole.operation_id] {
        assert_eq!(
            cluster.operator.operation(id).await?.state,
            OperationState::Succeeded
        );
    }
    let operation = cluster.operator.operation(whole.operation_id).await?;
    assert_eq!((operation.counts.pending, operation.counts.failed), (0, 0));
    assert_eq!(operation.counts.removed + operation.counts.absent, 2);
    Ok(())
}

/// A shard that came after a whole-host acceptance: the host asked again is a new operation, that decky
/// alone is one too.
#[tokio::test]
async fn a_new_shard_is_not_covered_by_an_older_teardown() -> TestResult {
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

/// Two open operations hold one shard: the older one's failure does not mark it, for the newer has taken
/// it over.
#[tokio::test]
async fn an_older_operations_failure_leaves_what_a_newer_took_over() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster
        .start_agent("worker-a", &["decky-1", "decky-2"])
        .await?;
    let single = cluster.operator.tear_down(&agent.host, "decky-1").await?;
    let whole = cluster.operator.tear_down(&agent.host, None).await?;
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
        .report_success(whole.operation_id, &["decky-1", "decky-2"])
        .await?;
    assert_eq!(cluster.operator.shard_states(&agent.host).await?, "");
    Ok(())
}
