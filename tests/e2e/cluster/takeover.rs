//! What happens when the controller that leads is killed, stopped, or cut off: another goes on, and nobody is told anything false.

use std::time::{Duration, Instant};

use anyhow::Context;
use futures_util::StreamExt;
use scuttle_controller::leadership::candidate::LEASE_TTL;
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

/// The next command with a higher epoch than that.
async fn command_after(agent: &mut FakeAgent, epoch: u64) -> anyhow::Result<TeardownCommand> {
    loop {
        let (command, _) = agent.next_delivery().await?;
        if command.controller_epoch > epoch {
            return Ok(command);
        }
    }
}

/// kill -9: what was accepted is there and ends, told to its agent by a later epoch, and more is accepted.
#[tokio::test]
async fn what_a_killed_leader_had_accepted_goes_on() -> TestResult {
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
        assert_eq!(open.state, OperationState::Queued, "{next} has it");
        let again = command_after(&mut agent, first.controller_epoch).await?;
        assert_eq!(again.operation_id, accepted.operation_id);
        agent
            .report_success(accepted.operation_id, &[decky])
            .await?;
        let ended = cluster.operator.wait_for_end(accepted.operation_id).await?;
        assert_eq!(ended.state, OperationState::Succeeded);
        cluster.controllers[leader].restart().await?;
        assert_eq!(
            cluster.wait_for_leader().await?,
            next,
            "who comes back follows"
        );
    }
    assert_eq!(cluster.operator.shard_states(&agent.host).await?, "");
    Ok(())
}

/// A command of the leader that was killed comes late, for an operation that no record has: a real agent leaves it alone.
#[tokio::test]
async fn an_agent_does_not_act_on_a_command_of_an_old_epoch() -> TestResult {
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
    let mut heard = agents.nats().subscribe(commands.clone()).await?;
    agents.nats().flush().await?;
    let mut tear_down = async |cluster: &Cluster, decky| {
        let accepted = cluster.operator.tear_down(&host, decky).await?;
        let command = with_timeout("a command", heard.next())
            .await?
            .context("a message")?;
        cluster.operator.wait_for_end(accepted.operation_id).await?;
        anyhow::Ok(serde_json::from_slice::<TeardownCommand>(&command.payload)?)
    };

    let leader = cluster.wait_for_leader().await?;
    let of_old = tear_down(&cluster, "decky-01").await?;
    cluster.controllers[leader].kill().await?;
    cluster.wait_for_leader_other_than(leader).await?;
    let of_new = tear_down(&cluster, "decky-02").await?;
    assert!(of_new.controller_epoch > of_old.controller_epoch);

    let late = TeardownCommand {
        operation_id: OperationId(Uuid::now_v7()),
        decky_id: Some("decky-03".parse()?),
        controller_epoch: of_old.controller_epoch,
        ..of_new
    };
    let controller = cluster.connect(Role::Controller).await?;
    let payload = serde_json::to_vec(&AgentCommand::Teardown(late.clone()))?;
    controller.nats().publish(commands, payload.into()).await?;
    let refusal = "ignored a command from an earlier controller";
    let line = sim.process().wait_for_line(refusal).await?;
    assert!(line.contains(&late.operation_id.to_string()), "{line}");
    assert_eq!(
        cluster.operator.shard_states(&host).await?,
        "decky-03 running"
    );
    Ok(())
}

/// SIGTERM: the lease is given back, so nobody waits for its end.
#[tokio::test]
async fn a_leader_that_stops_hands_over() -> TestResult {
    let mut cluster = start_cluster().await?;
    let mut quickest = Duration::MAX;
    for _ in 0..3 {
        let leader = cluster.wait_for_leader().await?;
        let process = cluster.controllers[leader].process();
        process.send_signal("TERM").await?;
        assert!(process.wait_for_exit().await?.success());
        let ended = Instant::now();
        cluster.wait_for_leader_other_than(leader).await?;
        quickest = quickest.min(ended.elapsed());
        cluster.controllers[leader].restart().await?;
    }
    // Three times, because the machine may be busy: without handing over, each would be more.
    assert!(quickest < LEASE_TTL / 2, "{quickest:?}");
    Ok(())
}

/// How a leader is silenced, and heard again.
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
                    .await?
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
                    .await?
            }
            Self::Stalled => cluster.proxies[leader].set_conditions(NetworkConditions::default()),
        }
        Ok(())
    }
}

/// What it reads when it is back was meant for the leader: it writes none of it, answers `not_leader` or nothing, and follows.
async fn a_silenced_leader_does_no_harm(silence: Silence) -> TestResult {
    let mut cluster = start_cluster().await?;
    let mut agent = cluster
        .start_agent("worker-a", &["decky-1", "decky-2"])
        .await?;
    let leader = cluster.wait_for_leader().await?;
    let accepted = cluster.operator.tear_down(&agent.host, "decky-1").await?;
    let (first, _) = agent.next_delivery().await?;

    silence.begin(&mut cluster, leader).await?;
    let operator = &cluster.operator;
    let mut late = PendingTeardown::send(operator, &agent.host, "decky-2", "late").await?;
    cluster.wait_for_leader_other_than(leader).await?;
    let again = command_after(&mut agent, first.controller_epoch).await?;
    agent
        .report_success(accepted.operation_id, &["decky-1"])
        .await?;

    silence.end(&mut cluster, leader).await?;
    let next = cluster.wait_for_leader().await?;
    assert_ne!(next, leader, "it follows");
    late.count_rejections(&cluster.operator).await?;
    assert_eq!(
        cluster.operator.list_operations().await?.len(),
        1,
        "it wrote nothing"
    );
    late.resend(&cluster.operator).await?;
    let command = agent.next_command().await?;
    assert_eq!(command.controller_epoch, again.controller_epoch);
    agent
        .report_success(command.operation_id, &["decky-2"])
        .await?;
    Ok(())
}

#[tokio::test]
async fn a_leader_that_was_stopped_wakes_up_as_a_follower() -> TestResult {
    a_silenced_leader_does_no_harm(Silence::Stopped).await
}

#[tokio::test]
async fn a_leader_whose_network_stalled_comes_back_as_a_follower() -> TestResult {
    a_silenced_leader_does_no_harm(Silence::Stalled).await
}

/// Its connections are cut and refused: it steps down by itself, before anybody tells it.
#[tokio::test]
async fn a_leader_that_is_cut_off_steps_down() -> TestResult {
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
