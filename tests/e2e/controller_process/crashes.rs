//! Crashes: kill -9 of the controller with work open, and of the server under everything.

use std::collections::BTreeSet;

use anyhow::Context;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use scuttle_schemas::agents::ProgressStep;
use scuttle_schemas::operations::{OperationRecord, OperationState};
use scuttle_tests::clients::replica_view::told;
use scuttle_tests::{FakeAgent, Swarm, TestResult, View, failed, removed, until};

/// kill -9 with work open in every state, then a restart: nothing accepted is lost, and everything ends.
#[tokio::test]
async fn everything_ends_after_the_controller_is_killed() -> TestResult {
    let mut swarm = Swarm::start().await?;
    let deckies = ["silent", "queued", "running", "failing", "ended"];
    let mut agent = swarm.agent("worker-a", &deckies).await?;
    let silent = swarm
        .operator
        .teardown_within(1, &agent.host, "silent")
        .await?;
    let queued = swarm.operator.teardown(&agent.host, "queued").await?;
    let running = swarm.operator.teardown(&agent.host, "running").await?;
    let failing = swarm.operator.teardown(&agent.host, "failing").await?;
    let ended = swarm.operator.teardown(&agent.host, "ended").await?;
    let epoch = agent.command().await?.controller_epoch;
    for _ in 1..5 {
        agent.command().await?;
    }
    agent
        .progress(running.operation_id, ProgressStep::Started)
        .await?;
    let is_running = |operation: &OperationRecord| operation.state == OperationState::Running;
    until(
        "running",
        || swarm.operator.operation(running.operation_id),
        is_running,
    )
    .await?;
    agent.succeed(ended.operation_id, &["ended"]).await?;

    swarm.controller.kill().await?;
    let done = agent.result(running.operation_id, vec![removed("running")]);
    let unrecorded = agent.conclude(&done).await;
    assert!(
        unrecorded.is_err(),
        "nobody is there to record: {unrecorded:?}"
    );
    swarm.controller.restart().await?;
    until(
        "recorded",
        || agent.conclude(&done),
        |answer| answer.recorded,
    )
    .await?;
    swarm.operator.answered().await?;

    loop {
        let (again, _) = agent.delivery().await?;
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
    agent.succeed(queued.operation_id, &["queued"]).await?;
    agent
        .fail(
            failing.operation_id,
            "busy",
            vec![failed("failing", "busy")],
        )
        .await?;
    for (accepted, state) in [
        (&silent, OperationState::TimedOut),
        (&queued, OperationState::Succeeded),
        (&running, OperationState::Succeeded),
        (&failing, OperationState::Failed),
        (&ended, OperationState::Succeeded),
    ] {
        let operation = swarm.operator.ended(accepted.operation_id).await?;
        assert_eq!(operation.state, state, "{operation:?}");
    }
    assert_eq!(
        swarm.operator.states(&agent.host).await?,
        "failing teardown_failed, silent teardown_failed"
    );
    Ok(())
}

/// A deadline that passes while there is no controller has its effect at the next start.
#[tokio::test]
async fn a_deadline_passes_while_the_controller_is_away() -> TestResult {
    let mut swarm = Swarm::start().await?;
    let agent = swarm.agent("worker-a", &["decky-1"]).await?;
    let accepted = swarm
        .operator
        .teardown_within(1, &agent.host, "decky-1")
        .await?;
    swarm.controller.kill().await?;
    let passed = || async { Ok::<_, ()>(scuttle_tests::wait::now()) };
    until("the deadline passes", passed, |now| {
        *now > accepted.deadline
    })
    .await?;
    swarm.crash_controller().await?;
    let operation = swarm.operator.ended(accepted.operation_id).await?;
    assert_eq!(operation.state, OperationState::TimedOut);
    assert_eq!(
        swarm.operator.states(&agent.host).await?,
        "decky-1 teardown_failed"
    );
    Ok(())
}

/// Killed amid a burst, three times on one data directory: whatever was answered is there afterwards, with
/// its shard `tearing_down`, and its agent can end it.
#[tokio::test]
async fn what_was_answered_is_never_lost() -> TestResult {
    const BURST: usize = 60;
    const KILLED_AFTER: usize = 20;
    let mut swarm = Swarm::start().await?;
    let names: Vec<String> = (0..3 * BURST)
        .map(|number| format!("decky-{number}"))
        .collect();
    let deckies: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut agent = swarm.agent("worker-a", &deckies).await?;

    let mut answered = BTreeSet::new();
    for round in deckies.chunks(BURST) {
        let Swarm {
            operator,
            controller,
            ..
        } = &mut swarm;
        let mut requests: FuturesUnordered<_> = round
            .iter()
            .map(|decky| operator.teardown(&agent.host, *decky))
            .collect();
        for _ in 0..KILLED_AFTER {
            answered.insert(requests.next().await.context("an answer")??.operation_id);
        }
        controller.kill().await?;
        drop(requests);
        swarm.crash_controller().await?;
        agent.report(&deckies).await?;
    }
    assert_eq!(answered.len(), 3 * KILLED_AFTER);
    let stored: BTreeSet<_> = swarm
        .operator
        .operations()
        .await?
        .iter()
        .map(|operation| operation.operation_id)
        .collect();
    assert!(
        stored.is_superset(&answered),
        "lost: {:?}",
        answered.difference(&stored)
    );

    let mut left = stored.len();
    while left > 0 {
        let command = agent.command().await?;
        let decky = command.decky_id.context("of a single decky")?;
        let shard = swarm.operator.shard(&agent.host, decky.as_str()).await?;
        assert_eq!(
            shard.and_then(|shard| shard.operation_id),
            Some(command.operation_id)
        );
        agent
            .succeed(command.operation_id, &[decky.as_str()])
            .await?;
        left -= 1;
    }
    let operations = swarm.operator.operations().await?;
    assert!(
        operations
            .iter()
            .all(|operation| operation.state == OperationState::Succeeded)
    );
    assert_eq!(
        swarm.operator.shards().await?.len(),
        deckies.len() - stored.len()
    );
    Ok(())
}

/// What was recorded stays recorded: a shard that is gone, an error that is to be seen, the hosts.
#[tokio::test]
async fn the_record_survives_a_crash() -> TestResult {
    let mut swarm = Swarm::start().await?;
    let mut agent = swarm
        .agent("worker-a", &["decky-1", "decky-2", "decky-3", "decky-4"])
        .await?;
    swarm.host("worker-b").await?;
    let gone = swarm.operator.teardown(&agent.host, "decky-1").await?;
    let fails = swarm.operator.teardown(&agent.host, "decky-2").await?;
    swarm.operator.teardown(&agent.host, "decky-3").await?;
    agent.succeed(gone.operation_id, &["decky-1"]).await?;
    agent
        .fail(fails.operation_id, "busy", vec![failed("decky-2", "busy")])
        .await?;
    let shards = swarm.operator.shards_paged(10).await?;
    let hosts: Vec<_> = swarm.operator.hosts().await?.into_keys().collect();

    for _ in 0..2 {
        swarm.crash_controller().await?;
        let (revision, after) = swarm.operator.shards_paged(10).await?;
        assert_eq!((revision, told(after)), (shards.0, told(shards.1.clone())));
        let after: Vec<_> = swarm.operator.hosts().await?.into_keys().collect();
        assert_eq!(after, hosts);
    }
    Ok(())
}

/// The server is killed and started again under an open teardown: controller and agents come back by
/// themselves, the teardown ends, and a subscriber's view is exact.
#[tokio::test]
async fn the_servers_restart_is_survived() -> TestResult {
    let mut swarm = Swarm::start().await?;
    let mut agent = swarm.agent("worker-a", &["decky-1", "decky-2"]).await?;
    let accepted = swarm.operator.teardown(&agent.host, "decky-1").await?;
    agent.command().await?;
    let Swarm { operator, nats, .. } = &mut swarm;
    let mut view = View::open(operator, 10).await?;

    nats.kill().await?;
    nats.restart().await?;
    operator.answered().await?;
    let (again, _) = agent.delivery().await?;
    assert_eq!(
        again.operation_id, accepted.operation_id,
        "sent again while queued"
    );
    agent.succeed(accepted.operation_id, &["decky-1"]).await?;
    let operation = operator.operation(accepted.operation_id).await?;
    assert_eq!(operation.state, OperationState::Succeeded);

    nats.stop().await?;
    nats.restart().await?;
    operator.answered().await?;
    let second = until(
        "accepted",
        || operator.teardown(&agent.host, "decky-2"),
        |_| true,
    )
    .await?;
    let result = agent.result(second.operation_id, vec![removed("decky-2")]);
    until(
        "recorded",
        || agent.conclude(&result),
        |answer| answer.recorded,
    )
    .await?;
    let (revision, shards) = operator.shards_paged(10).await?;
    assert_eq!(shards, []);
    view.reach(revision).await?;
    assert_eq!(view.shards(), []);
    Ok(())
}

/// An agent that crashed between its work and its report tells the result with a boot of its own, or with
/// the old one: both are recorded.
#[tokio::test]
async fn a_result_from_before_an_agents_crash_is_recorded() -> TestResult {
    let swarm = Swarm::start().await?;
    let mut agent = swarm.agent("worker-a", &["decky-1", "decky-2"]).await?;
    let one = swarm.operator.teardown(&agent.host, "decky-1").await?;
    let two = swarm.operator.teardown(&agent.host, "decky-2").await?;
    let old = agent.result(one.operation_id, vec![removed("decky-1")]);
    let mut agent = FakeAgent::connect(&swarm.nats, &agent.host).await?;
    agent.report(&[]).await?;
    assert!(agent.conclude(&old).await?.recorded);
    agent.succeed(two.operation_id, &["decky-2"]).await?;
    assert_eq!(swarm.operator.states(&agent.host).await?, "");
    for accepted in [one, two] {
        let operation = swarm.operator.operation(accepted.operation_id).await?;
        assert_eq!(operation.state, OperationState::Succeeded);
    }
    Ok(())
}
