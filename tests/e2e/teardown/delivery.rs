//! Delivery of commands: immediately, repeatedly until an agent acknowledges the command, and again
//! when an agent returns.

use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use scuttle_schemas::agents::{ProgressStep, TeardownCommand};
use scuttle_schemas::hosts::{HostStatus, HostsUpdated};
use scuttle_schemas::operations::{OperationRecord, OperationState, OperationsUpdated};
use scuttle_schemas::shards::ShardsUpdated;
use scuttle_schemas::teardown::TeardownAccepted;
use scuttle_schemas::{headers, subjects};
use scuttle_tests::{Broadcasts, Cluster, FakeAgent, TestResult, wait_until};
use serde_json::json;

/// The time within which a heartbeat must trigger a command. The delays of the backoff are longer,
/// so that a command that the backoff resends is not mistaken for a triggered command.
const MAX_HEARTBEAT_RESPONSE_TIME: Duration = Duration::from_millis(900);

/// The command is triggered by the heartbeat, not by the backoff.
#[tokio::test]
async fn an_offline_host_receives_its_command_with_the_heartbeat_of_its_return() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut hosts = Broadcasts::<HostsUpdated>::subscribe(&cluster.operator).await?;
    let mut agent =
        FakeAgent::connect(&cluster.servers[0], &cluster.enroll_host("worker-a").await?).await?;
    agent.interval_ms = 100;
    agent.report_inventory(&["decky-1"]).await?;
    let host = agent.host.clone();
    drop(agent);
    let offline = |update: &HostsUpdated| {
        update
            .updated
            .iter()
            .any(|host| host.status == HostStatus::Offline)
    };
    hosts.wait_for("offline", offline).await?;

    let accepted = cluster.operator.tear_down(&host, None).await?;
    assert_eq!(
        cluster.operator.shard_states(&host).await?,
        "decky-1 tearing_down"
    );
    let id = accepted.operation_id;
    let queued = cluster.operator.operation(id).await?;
    assert_eq!((queued.state, queued.attempts), (OperationState::Queued, 1));
    let waiting = queued.waiting_for.expect("the operation is open");
    assert_eq!(waiting.next_attempt_at, None, "the host is offline");

    let mut agent = FakeAgent::connect(&cluster.servers[0], &host).await?;
    let back = Instant::now();
    agent.report_inventory(&["decky-1"]).await?;
    let command = agent.next_command().await?;
    assert!(
        back.elapsed() < MAX_HEARTBEAT_RESPONSE_TIME,
        "{:?}",
        back.elapsed()
    );
    assert_eq!(command.operation_id, id);
    assert!(command.attempt > 1);
    agent.report_success(id, &["decky-1"]).await?;
    assert_eq!(
        cluster.operator.operation(id).await?.state,
        OperationState::Succeeded
    );
    Ok(())
}

#[tokio::test]
async fn an_enrolled_host_receives_its_command_with_its_first_heartbeat() -> TestResult {
    let cluster = Cluster::start().await?;
    let host = cluster.enroll_host("worker-a").await?;
    let accepted = cluster.operator.tear_down(&host, None).await?;
    let mut agent = FakeAgent::connect(&cluster.servers[0], &host).await?;
    let back = Instant::now();
    agent.report_inventory(&[]).await?;
    assert_eq!(
        agent.next_command().await?.operation_id,
        accepted.operation_id
    );
    assert!(
        back.elapsed() < MAX_HEARTBEAT_RESPONSE_TIME,
        "{:?}",
        back.elapsed()
    );
    Ok(())
}

/// The commands differ only in `attempt`, and the delays between them grow.
#[tokio::test]
async fn the_command_of_a_queued_operation_is_resent() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let accepted = cluster.operator.tear_down(&agent.host, "decky-1").await?;
    let mut sends: Vec<(Instant, TeardownCommand)> = Vec::new();
    for _ in 0..3 {
        let (command, _) = agent.next_delivery().await?;
        sends.push((Instant::now(), command));
    }
    for (number, (_, command)) in sends.iter().enumerate() {
        let expected = TeardownCommand {
            attempt: u32::try_from(number)? + 1,
            ..sends[0].1.clone()
        };
        assert_eq!(*command, expected);
    }
    for pair in sends.windows(2) {
        let wait = pair[1].0 - pair[0].0;
        assert!(
            wait > Duration::from_millis(800),
            "the command was resent after {wait:?}"
        );
    }
    let operation = cluster.operator.operation(accepted.operation_id).await?;
    assert_eq!(
        (operation.state, operation.attempts),
        (OperationState::Queued, 3)
    );
    Ok(())
}

#[tokio::test]
async fn the_command_of_a_started_operation_is_not_resent() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster
        .start_agent("worker-a", &["decky-1", "decky-2"])
        .await?;
    let started = cluster.operator.tear_down(&agent.host, "decky-1").await?;
    agent.next_command().await?;
    agent
        .publish_progress(started.operation_id, ProgressStep::Started)
        .await?;
    let is_running = |operation: &OperationRecord| operation.state == OperationState::Running;
    let get = || cluster.operator.operation(started.operation_id);
    let attempts = wait_until("the operation is running", get, is_running)
        .await?
        .attempts;
    let queued = cluster.operator.tear_down(&agent.host, "decky-2").await?;
    loop {
        let (command, _) = agent.next_delivery().await?;
        if command.operation_id == started.operation_id {
            assert!(command.attempt <= attempts, "resent: {command:?}");
        } else if command.attempt == 3 {
            assert_eq!(command.operation_id, queued.operation_id);
            return Ok(());
        }
    }
}

/// The restarted agent has lost the command.
#[tokio::test]
async fn an_acknowledged_command_is_sent_again_only_after_a_restart_of_the_agent() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster
        .start_agent("worker-a", &["decky-1", "decky-2"])
        .await?;
    let received = cluster.operator.tear_down(&agent.host, "decky-1").await?;
    let id = received.operation_id;
    agent.next_command().await?;
    agent.publish_progress(id, ProgressStep::Received).await?;
    let is_received = |operation: &OperationRecord| {
        let waiting = operation.waiting_for.as_ref();
        waiting.is_some_and(|waiting| waiting.detail.contains("has received"))
    };
    let get = || cluster.operator.operation(id);
    let operation = wait_until("the command is acknowledged", get, is_received).await?;
    assert_eq!(operation.state, OperationState::Queued);
    // The other command has three attempts while the acknowledged one has no further attempt.
    let other = cluster.operator.tear_down(&agent.host, "decky-2").await?;
    loop {
        let (command, _) = agent.next_delivery().await?;
        if command.operation_id == id {
            assert!(
                command.attempt <= operation.attempts,
                "sent again: {command:?}"
            );
        } else if command.attempt == 3 {
            assert_eq!(command.operation_id, other.operation_id);
            break;
        }
    }
    agent.reboot();
    agent.report_inventory(&["decky-1", "decky-2"]).await?;
    loop {
        let (command, _) = agent.next_delivery().await?;
        if command.operation_id == id {
            assert_eq!(command.attempt, operation.attempts + 1);
            return Ok(());
        }
    }
}

/// The restarted agent may have lost the command.
#[tokio::test]
async fn a_restarted_agent_receives_the_command_of_a_started_operation_again() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let accepted = cluster.operator.tear_down(&agent.host, "decky-1").await?;
    let first = agent.next_command().await?;
    agent
        .publish_progress(first.operation_id, ProgressStep::Started)
        .await?;
    let is_running = |operation: &OperationRecord| operation.state == OperationState::Running;
    let get = || cluster.operator.operation(accepted.operation_id);
    wait_until("the operation is running", get, is_running).await?;

    agent.reboot();
    let back = Instant::now();
    agent.report_inventory(&["decky-1"]).await?;
    let (again, _) = agent.next_delivery().await?;
    assert!(
        back.elapsed() < MAX_HEARTBEAT_RESPONSE_TIME,
        "{:?}",
        back.elapsed()
    );
    assert_eq!(
        again,
        TeardownCommand {
            attempt: 2,
            ..first
        }
    );
    Ok(())
}

/// Each start sends the command again.
#[tokio::test]
async fn the_controller_epoch_increases_with_each_start() -> TestResult {
    let mut cluster = Cluster::start().await?;
    let mut agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let accepted = cluster.operator.tear_down(&agent.host, "decky-1").await?;
    let mut last = agent.next_command().await?;
    for _ in 0..3 {
        cluster.crash_controller().await?;
        agent.reboot();
        agent.send_heartbeat().await?;
        loop {
            let (command, _) = agent.next_delivery().await?;
            assert_eq!(command.operation_id, accepted.operation_id);
            assert!(
                command.controller_epoch >= last.controller_epoch && command.attempt > 1,
                "{command:?} after {last:?}"
            );
            let has_increased = command.controller_epoch > last.controller_epoch;
            last = command;
            if has_increased {
                break;
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_traceparent_of_a_request_is_on_its_command_and_broadcasts() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let mut shards = Broadcasts::<ShardsUpdated>::subscribe(&cluster.operator).await?;
    let mut operations = Broadcasts::<OperationsUpdated>::subscribe(&cluster.operator).await?;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let mut with_trace = HeaderMap::new();
    with_trace.insert(headers::TRACEPARENT, trace);
    let request = json!({ "host_uuid": agent.host, "decky_id": "decky-1" });
    let accepted: TeardownAccepted = cluster
        .operator
        .request_with_headers(subjects::TEARDOWN, with_trace, &request)
        .await?;

    let on = |headers: &HeaderMap| headers.get(headers::TRACEPARENT).map(ToString::to_string);
    let id = accepted.operation_id;
    let (command, headers) = agent.next_delivery().await?;
    assert_eq!(
        (command.operation_id, on(&headers).as_deref()),
        (id, Some(trace))
    );
    let update = shards
        .wait_for("tearing_down", |update| update.operation_id == Some(id))
        .await?;
    assert_eq!(on(&update.headers).as_deref(), Some(trace));
    let of_it =
        |update: &OperationsUpdated| update.updated.iter().any(|one| one.operation_id == id);
    let update = operations.wait_for("queued", of_it).await?;
    assert_eq!(on(&update.headers).as_deref(), Some(trace));
    Ok(())
}

#[tokio::test]
async fn the_traceparent_of_a_result_is_on_its_broadcast() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let accepted = cluster.operator.tear_down(&agent.host, "decky-1").await?;
    let mut shards = Broadcasts::<ShardsUpdated>::subscribe(&cluster.operator).await?;
    cluster.operator.wait_until_ready().await?;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let mut with_trace = HeaderMap::new();
    with_trace.insert(headers::TRACEPARENT, trace);
    let result = agent.next_success(
        accepted.operation_id,
        vec![scuttle_tests::removed_shard("decky-1")],
    );
    let subject = subjects::AgentChannel::Results.subject(&agent.host);
    let _: serde_json::Value = agent
        .client()
        .request_with_headers(&subject, with_trace, &result)
        .await?;
    let update = shards
        .wait_for("removed", |update| !update.removed.is_empty())
        .await?;
    assert_eq!(update.message.operation_id, Some(accepted.operation_id));
    assert_eq!(
        update
            .headers
            .get(headers::TRACEPARENT)
            .map(ToString::to_string)
            .as_deref(),
        Some(trace)
    );
    Ok(())
}
