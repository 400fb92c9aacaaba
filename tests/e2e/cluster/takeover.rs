//! What happens when the controller that leads is killed, stopped, or cut off: another goes on, and nobody is told anything false.

use std::time::{Duration, Instant};

use anyhow::Context;
use futures_util::StreamExt;
use scuttle_controller::leadership::candidate::LEASE_TTL;
use scuttle_schemas::agents::{AgentCommand, TeardownCommand};
use scuttle_schemas::operations::OperationState;
use scuttle_schemas::subjects::AgentChannel;
use scuttle_schemas::{HostId, OperationId};
use scuttle_tests::faults::proxy::Weather;
use scuttle_tests::wait::within;
use scuttle_tests::{FakeAgent, Role, Sim, TestResult};
use uuid::Uuid;

use super::stage::{AuditSubject, Stage};

/// The next command with a higher epoch than that.
async fn command_after(agent: &mut FakeAgent, epoch: u64) -> anyhow::Result<TeardownCommand> {
    loop {
        let (command, _) = agent.delivery().await?;
        if command.controller_epoch > epoch {
            return Ok(command);
        }
    }
}

/// kill -9: what was accepted is there and ends, told to its agent by a later epoch, and more is accepted.
#[tokio::test]
async fn what_a_killed_leader_had_accepted_goes_on() -> TestResult {
    let mut stage = Stage::start().await?;
    let mut agent = stage.agent("worker-a", &["decky-1", "decky-2"]).await?;
    for decky in ["decky-1", "decky-2"] {
        let leader = stage.settled().await?;
        let accepted = stage.operator.teardown(&agent.host, decky).await?;
        let (first, _) = agent.delivery().await?;
        stage.controllers[leader].kill().await?;
        let next = stage.next_to(leader).await?;

        let open = stage.operator.operation(accepted.operation_id).await?;
        assert_eq!(open.state, OperationState::Queued, "{next} has it");
        let again = command_after(&mut agent, first.controller_epoch).await?;
        assert_eq!(again.operation_id, accepted.operation_id);
        agent.succeed(accepted.operation_id, &[decky]).await?;
        let ended = stage.operator.ended(accepted.operation_id).await?;
        assert_eq!(ended.state, OperationState::Succeeded);
        stage.restart(leader).await?;
        assert_eq!(stage.settled().await?, next, "who comes back follows");
    }
    assert_eq!(stage.operator.states(&agent.host).await?, "");
    Ok(())
}

/// A command of the leader that was killed comes late, for an operation that no record has: a real agent leaves it alone.
#[tokio::test]
async fn an_agent_does_not_act_on_a_command_of_an_old_epoch() -> TestResult {
    let mut stage = Stage::start().await?;
    let arguments = [
        "--hosts=1",
        "--deckies-per-host=3",
        "--enroll",
        "--teardown-ms=20",
    ];
    let (url, passwords) = (stage.cluster.url(), stage.cluster.passwords());
    let mut sim = Sim::start_at((&url, passwords), &stage.path("sim"), &arguments, &[]).await?;
    let host: HostId = "sim-0001".parse()?;
    let commands = AgentChannel::Commands.subject(&host);
    let agents = stage.cluster.client(Role::Agents).await?;
    let mut heard = agents.nats().subscribe(commands.clone()).await?;
    agents.nats().flush().await?;
    let mut tear_down = async |stage: &Stage, decky| {
        let accepted = stage.operator.teardown(&host, decky).await?;
        let command = within("a command", heard.next())
            .await?
            .context("a message")?;
        stage.operator.ended(accepted.operation_id).await?;
        anyhow::Ok(serde_json::from_slice::<TeardownCommand>(&command.payload)?)
    };

    let leader = stage.settled().await?;
    let of_old = tear_down(&stage, "decky-01").await?;
    stage.controllers[leader].kill().await?;
    stage.next_to(leader).await?;
    let of_new = tear_down(&stage, "decky-02").await?;
    assert!(of_new.controller_epoch > of_old.controller_epoch);

    let late = TeardownCommand {
        operation_id: OperationId(Uuid::now_v7()),
        decky_id: Some("decky-03".parse()?),
        controller_epoch: of_old.controller_epoch,
        ..of_new
    };
    let controller = stage.cluster.client(Role::Controller).await?;
    let payload = serde_json::to_vec(&AgentCommand::Teardown(late.clone()))?;
    controller.nats().publish(commands, payload.into()).await?;
    let refusal = "ignored a command from an earlier controller";
    let line = sim.process().line(refusal).await?;
    assert!(line.contains(&late.operation_id.to_string()), "{line}");
    assert_eq!(stage.operator.states(&host).await?, "decky-03 running");
    Ok(())
}

/// SIGTERM: the lease is given back, so nobody waits for its end.
#[tokio::test]
async fn a_leader_that_stops_hands_over() -> TestResult {
    let mut stage = Stage::start().await?;
    let mut quickest = Duration::MAX;
    for _ in 0..3 {
        let leader = stage.settled().await?;
        let process = stage.controllers[leader].process();
        process.signal("TERM").await?;
        assert!(process.exit().await?.success());
        let ended = Instant::now();
        stage.next_to(leader).await?;
        quickest = quickest.min(ended.elapsed());
        stage.restart(leader).await?;
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
    async fn begin(self, stage: &mut Stage, leader: usize) -> TestResult {
        let stalled = Weather {
            stalled: true,
            ..Weather::default()
        };
        match self {
            Self::Stopped => stage.controllers[leader].process().signal("STOP").await?,
            Self::Stalled => stage.roads[leader].set(stalled),
        }
        Ok(())
    }

    async fn end(self, stage: &mut Stage, leader: usize) -> TestResult {
        match self {
            Self::Stopped => stage.controllers[leader].process().signal("CONT").await?,
            Self::Stalled => stage.roads[leader].set(Weather::default()),
        }
        Ok(())
    }
}

/// What it reads when it is back was meant for the leader: it writes none of it, answers `not_leader` or nothing, and follows.
async fn a_silenced_leader_does_no_harm(silence: Silence) -> TestResult {
    let mut stage = Stage::start().await?;
    let mut agent = stage.agent("worker-a", &["decky-1", "decky-2"]).await?;
    let leader = stage.settled().await?;
    let accepted = stage.operator.teardown(&agent.host, "decky-1").await?;
    let (first, _) = agent.delivery().await?;

    silence.begin(&mut stage, leader).await?;
    let operator = &stage.operator;
    let mut late = AuditSubject::for_teardown(operator, &agent.host, "decky-2", "late").await?;
    stage.next_to(leader).await?;
    let again = command_after(&mut agent, first.controller_epoch).await?;
    agent.succeed(accepted.operation_id, &["decky-1"]).await?;

    silence.end(&mut stage, leader).await?;
    let next = stage.settled().await?;
    assert_ne!(next, leader, "it follows");
    late.refused(&stage.operator).await?;
    assert_eq!(
        stage.operator.operations().await?.len(),
        1,
        "it wrote nothing"
    );
    late.again(&stage.operator).await?;
    let command = agent.command().await?;
    assert_eq!(command.controller_epoch, again.controller_epoch);
    agent.succeed(command.operation_id, &["decky-2"]).await?;
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
    let mut stage = Stage::start().await?;
    let agent = stage.agent("worker-a", &["decky-1"]).await?;
    let leader = stage.settled().await?;
    stage.roads[leader].close();
    let next = stage.next_to(leader).await?;
    let process = stage.controllers[leader].process();
    process.line("stepped down").await?;
    stage.operator.teardown(&agent.host, "decky-1").await?;

    stage.roads[leader].set(Weather::default());
    assert_eq!(stage.settled().await?, next);
    assert_eq!(
        stage.operator.states(&agent.host).await?,
        "decky-1 tearing_down"
    );
    Ok(())
}
