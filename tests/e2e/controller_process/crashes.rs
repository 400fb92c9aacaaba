//! Crashes: the controller or the server is killed (SIGKILL) while operations are open.

use std::collections::BTreeSet;

use anyhow::Context;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use scuttle_schemas::agents::ProgressStep;
use scuttle_schemas::operations::{OperationRecord, OperationState};
use scuttle_tests::clients::replica_view::clear_last_seen;
use scuttle_tests::{
    Cluster, FakeAgent, ReplicaView, TestResult, failed_shard, removed_shard, wait_until,
};

/// The controller is killed while some operations are queued, some are running and some have ended.
/// No operation is lost, and every open operation ends.
#[tokio::test]
async fn every_operation_ends_after_the_controller_is_killed() -> TestResult {
    let mut cluster = Cluster::start().await?;
    let deckies = ["silent", "queued", "running", "failing", "ended"];
    let mut agent = cluster.start_agent("worker-a", &deckies).await?;
    let silent = cluster
        .operator
        .tear_down_within(1, &agent.host, "silent")
        .await?;
    let queued = cluster.operator.tear_down(&agent.host, "queued").await?;
    let running = cluster.operator.tear_down(&agent.host, "running").await?;
    let failing = cluster.operator.tear_down(&agent.host, "failing").await?;
    let ended = cluster.operator.tear_down(&agent.host, "ended").await?;
    let epoch = agent.next_command().await?.controller_epoch;
    for _ in 1..5 {
        agent.next_command().await?;
    }
    agent
        .publish_progress(running.operation_id, ProgressStep::Started)
        .await?;
    let is_running = |operation: &OperationRecord| operation.state == OperationState::Running;
    wait_until(
        "running",
        || cluster.operator.operation(running.operation_id),
        is_running,
    )
    .await?;
    agent.report_success(ended.operation_id, &["ended"]).await?;

    cluster.controllers[0].kill().await?;
    let done = agent.next_success(running.operation_id, vec![removed_shard("running")]);
    let unrecorded = agent.send_result(&done).await;
    assert!(
        unrecorded.is_err(),
        "a result was recorded without a controller: {unrecorded:?}"
    );
    cluster.controllers[0].restart().await?;
    wait_until(
        "recorded",
        || agent.send_result(&done),
        |reply| reply.recorded,
    )
    .await?;
    cluster.operator.wait_until_ready().await?;

    loop {
        let (again, _) = agent.next_delivery().await?;
        if again.controller_epoch == epoch {
            continue;
        }
        if again.operation_id == queued.operation_id {
            break;
        }
        assert_ne!(
            again.operation_id, ended.operation_id,
            "what has ended is not sent again"
        );
    }
    agent
        .report_success(queued.operation_id, &["queued"])
        .await?;
    agent
        .report_failure(
            failing.operation_id,
            "busy",
            vec![failed_shard("failing", "busy")],
        )
        .await?;
    for (accepted, state) in [
        (&silent, OperationState::TimedOut),
        (&queued, OperationState::Succeeded),
        (&running, OperationState::Succeeded),
        (&failing, OperationState::Failed),
        (&ended, OperationState::Succeeded),
    ] {
        let operation = cluster.operator.wait_for_end(accepted.operation_id).await?;
        assert_eq!(operation.state, state, "{operation:?}");
    }
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "failing teardown_failed, silent teardown_failed"
    );
    Ok(())
}

#[tokio::test]
async fn a_deadline_that_passes_while_no_controller_runs_applies_at_the_next_start() -> TestResult {
    let mut cluster = Cluster::start().await?;
    let agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let accepted = cluster
        .operator
        .tear_down_within(1, &agent.host, "decky-1")
        .await?;
    cluster.controllers[0].kill().await?;
    let passed = || async { Ok::<_, ()>(scuttle_tests::wait::current_timestamp()) };
    wait_until("the deadline passes", passed, |now| {
        *now > accepted.deadline
    })
    .await?;
    cluster.crash_controller().await?;
    let operation = cluster.operator.wait_for_end(accepted.operation_id).await?;
    assert_eq!(operation.state, OperationState::TimedOut);
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "decky-1 teardown_failed"
    );
    Ok(())
}

/// The controller is killed three times during a burst of requests. Afterwards, each accepted
/// operation is in the record, its shard is `tearing_down`, and its agent can end it.
#[tokio::test]
async fn accepted_operations_survive_a_kill_of_the_controller() -> TestResult {
    const BURST: usize = 60;
    const REPLIES_BEFORE_KILL: usize = 20;
    let mut cluster = Cluster::start().await?;
    let names: Vec<String> = (0..3 * BURST)
        .map(|number| format!("decky-{number}"))
        .collect();
    let deckies: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut agent = cluster.start_agent("worker-a", &deckies).await?;

    let mut accepted_ids = BTreeSet::new();
    for round in deckies.chunks(BURST) {
        let Cluster {
            operator,
            controllers,
            ..
        } = &mut cluster;
        let mut requests: FuturesUnordered<_> = round
            .iter()
            .map(|decky| operator.tear_down(&agent.host, *decky))
            .collect();
        for _ in 0..REPLIES_BEFORE_KILL {
            accepted_ids.insert(requests.next().await.context("no reply")??.operation_id);
        }
        controllers[0].kill().await?;
        drop(requests);
        cluster.crash_controller().await?;
        agent.report_inventory(&deckies).await?;
    }
    assert_eq!(accepted_ids.len(), 3 * REPLIES_BEFORE_KILL);
    let stored: BTreeSet<_> = cluster
        .operator
        .list_operations()
        .await?
        .iter()
        .map(|operation| operation.operation_id)
        .collect();
    assert!(
        stored.is_superset(&accepted_ids),
        "lost: {:?}",
        accepted_ids.difference(&stored)
    );

    let mut left = stored.len();
    while left > 0 {
        let command = agent.next_command().await?;
        let decky = command.decky_id.context("of a single decky")?;
        let shard = cluster
            .operator
            .find_shard(&agent.host, decky.as_str())
            .await?;
        assert_eq!(
            shard.and_then(|shard| shard.operation_id),
            Some(command.operation_id)
        );
        agent
            .report_success(command.operation_id, &[decky.as_str()])
            .await?;
        left -= 1;
    }
    let operations = cluster.operator.list_operations().await?;
    assert!(
        operations
            .iter()
            .all(|operation| operation.state == OperationState::Succeeded)
    );
    assert_eq!(
        cluster.operator.list_shards().await?.len(),
        deckies.len() - stored.len()
    );
    Ok(())
}

/// After each kill, the record has the same shards with the same errors, the same hosts and the
/// same revision. Removed shards do not return.
#[tokio::test]
async fn the_record_survives_a_kill_of_the_controller() -> TestResult {
    let mut cluster = Cluster::start().await?;
    let mut agent = cluster
        .start_agent("worker-a", &["decky-1", "decky-2", "decky-3", "decky-4"])
        .await?;
    cluster.enroll_host("worker-b").await?;
    let removed = cluster.operator.tear_down(&agent.host, "decky-1").await?;
    let fails = cluster.operator.tear_down(&agent.host, "decky-2").await?;
    cluster.operator.tear_down(&agent.host, "decky-3").await?;
    agent
        .report_success(removed.operation_id, &["decky-1"])
        .await?;
    agent
        .report_failure(
            fails.operation_id,
            "busy",
            vec![failed_shard("decky-2", "busy")],
        )
        .await?;
    let shards = cluster.operator.list_shards_paged(10).await?;
    let hosts: Vec<_> = cluster.operator.list_hosts().await?.into_keys().collect();

    for _ in 0..2 {
        cluster.crash_controller().await?;
        let (revision, after) = cluster.operator.list_shards_paged(10).await?;
        assert_eq!(
            (revision, clear_last_seen(after)),
            (shards.0, clear_last_seen(shards.1.clone()))
        );
        let after: Vec<_> = cluster.operator.list_hosts().await?.into_keys().collect();
        assert_eq!(after, hosts);
    }
    Ok(())
}

/// The controller and the agents reconnect by themselves, the teardown ends, and a subscriber's
/// view is exact.
#[tokio::test]
async fn an_open_teardown_survives_a_kill_of_the_server() -> TestResult {
    let mut cluster = Cluster::start().await?;
    let mut agent = cluster
        .start_agent("worker-a", &["decky-1", "decky-2"])
        .await?;
    let accepted = cluster.operator.tear_down(&agent.host, "decky-1").await?;
    agent.next_command().await?;
    let Cluster {
        operator, servers, ..
    } = &mut cluster;
    let mut view = ReplicaView::open(operator, 10).await?;

    servers[0].kill().await?;
    servers[0].restart().await?;
    operator.wait_until_ready().await?;
    let (again, _) = agent.next_delivery().await?;
    assert_eq!(
        again.operation_id, accepted.operation_id,
        "sent again while queued"
    );
    agent
        .report_success(accepted.operation_id, &["decky-1"])
        .await?;
    let operation = operator.operation(accepted.operation_id).await?;
    assert_eq!(operation.state, OperationState::Succeeded);

    servers[0].stop().await?;
    servers[0].restart().await?;
    operator.wait_until_ready().await?;
    let second = wait_until(
        "accepted",
        || operator.tear_down(&agent.host, "decky-2"),
        |_| true,
    )
    .await?;
    let result = agent.next_success(second.operation_id, vec![removed_shard("decky-2")]);
    wait_until(
        "recorded",
        || agent.send_result(&result),
        |reply| reply.recorded,
    )
    .await?;
    let (revision, shards) = operator.list_shards_paged(10).await?;
    assert_eq!(shards, []);
    view.follow_until(revision).await?;
    assert_eq!(view.shards(), []);
    Ok(())
}

/// A result is recorded both with the boot id from before the crash and with a new one.
#[tokio::test]
async fn a_result_that_an_agent_reports_after_its_crash_is_recorded() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster
        .start_agent("worker-a", &["decky-1", "decky-2"])
        .await?;
    let one = cluster.operator.tear_down(&agent.host, "decky-1").await?;
    let two = cluster.operator.tear_down(&agent.host, "decky-2").await?;
    let old = agent.next_success(one.operation_id, vec![removed_shard("decky-1")]);
    let mut agent = FakeAgent::connect(&cluster.servers[0], &agent.host).await?;
    agent.report_inventory(&[]).await?;
    assert!(agent.send_result(&old).await?.recorded);
    agent.report_success(two.operation_id, &["decky-2"]).await?;
    assert_eq!(cluster.operator.shard_states(&agent.host).await?, "");
    for accepted in [one, two] {
        let operation = cluster.operator.operation(accepted.operation_id).await?;
        assert_eq!(operation.state, OperationState::Succeeded);
    }
    Ok(())
}
