//! Takeovers: the leader is killed, stopped or cut off. Another controller takes over, and no
//! client or agent gets a false reply or command.

use std::time::{Duration, Instant};

use anyhow::Context;
use futures_util::StreamExt;
use scuttle_controller::leadership::lease::LEASE_TTL;
use scuttle_schemas::agents::{AgentCommand, TeardownCommand};
use scuttle_schemas::operations::OperationState;
use scuttle_schemas::subjects::AgentChannel;
use scuttle_schemas::{HostId, OperationId};
use scuttle_tests::faults::proxy::NetworkConditions;
use scuttle_tests::wait::with_timeout;
use scuttle_tests::{Cluster, FakeAgent, Role, TestResult};
use uuid::Uuid;

use super::pending_teardown::PendingTeardown;
use super::start_cluster;

/// Returns the next command whose epoch is higher than `epoch`.
async fn next_command_after(agent: &mut FakeAgent, epoch: u64) -> anyhow::Result<TeardownCommand> {
    loop {
        let (command, _) = agent.next_delivery().await?;
        if command.controller_epoch > epoch {
            return Ok(command);
        }
    }
}

/// The leader is killed (SIGKILL). The operation that it accepted is not lost: the next leader
/// resends the command with a higher epoch, the operation ends, and further requests are accepted.
#[tokio::test]
async fn operations_that_a_killed_leader_accepted_are_completed() -> TestResult {
    let mut cluster = start_cluster().await?;
    let mut agent = cluster
        .start_agent("worker-a", &["decky-1", "decky-2"])
        .await?;
    for decky in ["decky-1", "decky-2"] {
        let leader = cluster.wait_for_leader().await?;
        let accepted = cluster.operator.tear_down(&agent.host, decky).await?;
        let (first, _) = agent.next_delivery().await?;
        cluster.controllers[leader].kill().await?;
        let next = cluster.wait_for_leader_other_than(leader).await?;

        let open = cluster.operator.operation(accepted.operation_id).await?;
        assert_eq!(
            open.state,
            OperationState::Queued,
            "the operation is open on {next}"
        );
        let resent = next_command_after(&mut agent, first.controller_epoch).await?;
        assert_eq!(resent.operation_id, accepted.operation_id);
        agent
            .report_success(accepted.operation_id, &[decky])
            .await?;
        let ended = cluster.operator.wait_for_end(accepted.operation_id).await?;
        assert_eq!(ended.state, OperationState::Succeeded);
        cluster.controllers[leader].restart().await?;
        assert_eq!(
            cluster.wait_for_leader().await?,
            next,
            "a restarted controller follows"
        );
    }
    assert_eq!(cluster.operator.shard_states(&agent.host).await?, "");
    Ok(())
}

/// A killed leader may have sent a command for an operation that is not in the record. A real agent
/// ignores the command if it arrives after a command from the next leader.
#[tokio::test]
async fn an_agent_ignores_a_command_of_an_older_epoch() -> TestResult {
    let mut cluster = start_cluster().await?;
    let arguments = [
        "--hosts=1",
        "--deckies-per-host=3",
        "--enroll",
        "--teardown-ms=20",
    ];
    let mut sim = cluster
        .start_simulator(&cluster.path("sim"), &arguments)
        .await?;
    let host: HostId = "sim-0001".parse()?;
    let commands = AgentChannel::Commands.subject(&host);
    let agents = cluster.connect(Role::Agents).await?;
    let mut delivered = agents.nats().subscribe(commands.clone()).await?;
    agents.nats().flush().await?;
    let mut tear_down = async |cluster: &Cluster, decky| {
        let accepted = cluster.operator.tear_down(&host, decky).await?;
        let command = with_timeout("a command", delivered.next())
            .await?
            .context("the connection is closed")?;
        cluster.operator.wait_for_end(accepted.operation_id).await?;
        anyhow::Ok(serde_json::from_slice::<TeardownCommand>(&command.payload)?)
    };

    let leader = cluster.wait_for_leader().await?;
    let old_command = tear_down(&cluster, "decky-01").await?;
    cluster.controllers[leader].kill().await?;
    cluster.wait_for_leader_other_than(leader).await?;
    let new_command = tear_down(&cluster, "decky-02").await?;
    assert!(new_command.controller_epoch > old_command.controller_epoch);

    let late = TeardownCommand {
        operation_id: OperationId(Uuid::now_v7()),
        decky_id: Some("decky-03".parse()?),
        controller_epoch: old_command.controller_epoch,
        ..new_command
    };
    let controller = cluster.connect(Role::Controller).await?;
    let payload = serde_json::to_vec(&AgentCommand::Teardown(late.clone()))?;
    controller.nats().publish(commands, payload.into()).await?;
    let log_line = "ignored a command from an earlier controller";
    let line = sim.process().wait_for_line(log_line).await?;
    assert!(line.contains(&late.operation_id.to_string()), "{line}");
    assert_eq!(
        cluster.operator.shard_states(&host).await?,
        "decky-03 running"
    );
    Ok(())
}

/// On SIGTERM, the leader releases its lease, so that a takeover need not wait until the lease
/// expires.
#[tokio::test]
async fn a_leader_that_stops_releases_its_lease() -> TestResult {
    let mut cluster = start_cluster().await?;
    let mut fastest = Duration::MAX;
    for _ in 0..3 {
        let leader = cluster.wait_for_leader().await?;
        let process = cluster.controllers[leader].process();
        process.send_signal("TERM").await?;
        assert!(process.wait_for_exit().await?.success());
        let stopped_at = Instant::now();
        cluster.wait_for_leader_other_than(leader).await?;
        fastest = fastest.min(stopped_at.elapsed());
        cluster.controllers[leader].restart().await?;
    }
    // The fastest of three counts, because the machine may be busy. If the lease were not released,
    // all three would take longer.
    assert!(fastest < LEASE_TTL / 2, "{fastest:?}");
    Ok(())
}

/// The way in which a leader is silenced: its process is stopped (SIGSTOP), or its connections are
/// stalled.
#[derive(Debug, Clone, Copy)]
enum Silence {
    Stopped,
    Stalled,
}

impl Silence {
    async fn begin(self, cluster: &mut Cluster, leader: usize) -> TestResult {
        let stalled = NetworkConditions {
            stalled: true,
            ..NetworkConditions::default()
        };
        match self {
            Self::Stopped => {
                cluster.controllers[leader]
                    .process()
                    .send_signal("STOP")
                    .await?;
            }
            Self::Stalled => cluster.proxies[leader].set_conditions(stalled),
        }
        Ok(())
    }

    async fn end(self, cluster: &mut Cluster, leader: usize) -> TestResult {
        match self {
            Self::Stopped => {
                cluster.controllers[leader]
                    .process()
                    .send_signal("CONT")
                    .await?;
            }
            Self::Stalled => cluster.proxies[leader].set_conditions(NetworkConditions::default()),
        }
        Ok(())
    }
}

/// Checks that a silenced leader does no harm when it returns and reads the messages that it
/// missed. It writes nothing, replies `not_leader` or not at all, and follows the new leader.
async fn check_silenced_leader(silence: Silence) -> TestResult {
    let mut cluster = start_cluster().await?;
    let mut agent = cluster
        .start_agent("worker-a", &["decky-1", "decky-2"])
        .await?;
    let leader = cluster.wait_for_leader().await?;
    let accepted = cluster.operator.tear_down(&agent.host, "decky-1").await?;
    let (first, _) = agent.next_delivery().await?;

    silence.begin(&mut cluster, leader).await?;
    let operator = &cluster.operator;
    let mut pending = PendingTeardown::send(operator, &agent.host, "decky-2", "late").await?;
    cluster.wait_for_leader_other_than(leader).await?;
    let resent = next_command_after(&mut agent, first.controller_epoch).await?;
    agent
        .report_success(accepted.operation_id, &["decky-1"])
        .await?;

    silence.end(&mut cluster, leader).await?;
    let next = cluster.wait_for_leader().await?;
    assert_ne!(next, leader, "the deposed leader follows");
    pending.count_rejections(&cluster.operator).await?;
    assert_eq!(
        cluster.operator.list_operations().await?.len(),
        1,
        "the deposed leader wrote nothing"
    );
    pending.resend(&cluster.operator).await?;
    let command = agent.next_command().await?;
    assert_eq!(command.controller_epoch, resent.controller_epoch);
    agent
        .report_success(command.operation_id, &["decky-2"])
        .await?;
    Ok(())
}

#[tokio::test]
async fn a_leader_that_was_suspended_resumes_as_a_follower() -> TestResult {
    check_silenced_leader(Silence::Stopped).await
}

#[tokio::test]
async fn a_leader_whose_network_stalled_returns_as_a_follower() -> TestResult {
    check_silenced_leader(Silence::Stalled).await
}

/// The connections of the leader are closed, and new connections are rejected. The leader steps
/// down by itself, before it can learn of the takeover.
#[tokio::test]
async fn a_leader_that_loses_its_connections_steps_down() -> TestResult {
    let mut cluster = start_cluster().await?;
    let agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let leader = cluster.wait_for_leader().await?;
    cluster.proxies[leader].disconnect();
    let next = cluster.wait_for_leader_other_than(leader).await?;
    let process = cluster.controllers[leader].process();
    process.wait_for_line("stepped down").await?;
    cluster.operator.tear_down(&agent.host, "decky-1").await?;

    cluster.proxies[leader].set_conditions(NetworkConditions::default());
    assert_eq!(cluster.wait_for_leader().await?, next);
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "decky-1 tearing_down"
    );
    Ok(())
}
