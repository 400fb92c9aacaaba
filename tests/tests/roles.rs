//! `nats.conf`: who may say and hear what, enforced by the server; and whom it vouches for.

use async_nats::HeaderMap;
use futures_util::StreamExt;
use scuttle_schemas::subjects::{self, AgentChannel};
use scuttle_schemas::teardown::TeardownAccepted;
use scuttle_schemas::{HostId, headers};
use scuttle_tests::wait::within;
use scuttle_tests::{Client, FakeAgent, Nats, Role, Swarm, TestResult};
use serde_json::{Value, json};

const CHANGING: [&str; 4] = [
    subjects::TEARDOWN,
    subjects::OPERATIONS_CANCEL,
    subjects::HOSTS_ENROLL,
    subjects::HOSTS_DECOMMISSION,
];
const READING: [&str; 4] = [
    subjects::SHARDS_LIST,
    subjects::HOSTS_LIST,
    subjects::OPERATIONS_LIST,
    subjects::OPERATIONS_GET,
];
const BROADCASTS: [&str; 3] = [
    subjects::SHARDS_UPDATED,
    subjects::HOSTS_UPDATED,
    subjects::OPERATIONS_UPDATED,
];
const CHANNELS: [AgentChannel; 4] = [
    AgentChannel::Commands,
    AgentChannel::Heartbeat,
    AgentChannel::Results,
    AgentChannel::Progress,
];

/// A viewer is answered what it may read and refused, by the server, what changes anything.
#[tokio::test]
async fn a_viewer_reads_and_changes_nothing() -> TestResult {
    let swarm = Swarm::start().await?;
    let agent = swarm.agent("worker-a", &["decky-1"]).await?;
    let accepted = swarm.operator.teardown(&agent.host, "decky-1").await?;
    let viewer = Client::connect(&swarm.nats, Role::Viewer).await?;
    let shards = viewer.shards().await?;
    assert_eq!((shards.len(), viewer.hosts().await?.len()), (1, 1));
    assert_eq!(viewer.operations().await?.len(), 1);
    assert_eq!(
        viewer.operation(accepted.operation_id).await?.operation_id,
        accepted.operation_id
    );

    for subject in CHANGING {
        let request = json!({ "host_uuid": agent.host, "name": "worker-b" });
        viewer.request_denied(subject, &request).await?;
    }
    assert_eq!(swarm.operator.operations().await?.len(), 1);
    assert_eq!(swarm.operator.hosts().await?.len(), 1);
    Ok(())
}

/// Without a login, or with a wrong one, nobody connects.
#[tokio::test]
async fn nobody_connects_without_a_password() -> TestResult {
    let nats = Nats::start().await?;
    let options = async_nats::ConnectOptions::new;
    for login in [
        options(),
        options().user_and_password("operator".into(), String::new()),
        options().user_and_password("operator".into(), nats.password(Role::Viewer).into()),
        options().user_and_password("nobody".into(), nats.password(Role::Operator).into()),
        options().token(nats.password(Role::Operator).into()),
    ] {
        let refused = Client::with(login, &nats.url()).await.map(|_| ());
        let error = refused
            .expect_err("a connection without a login")
            .to_string();
        assert!(error.to_lowercase().contains("authorization"), "{error}");
    }
    Client::connect(&nats, Role::Operator).await?;
    Ok(())
}

/// Operators, viewers and agents publish on no subject that is another's to speak on.
#[tokio::test]
async fn nobody_speaks_for_another() -> TestResult {
    let nats = Nats::start().await?;
    let host: HostId = "worker-a".parse()?;
    for role in [Role::Operator, Role::Viewer] {
        let client = Client::connect(&nats, role).await?;
        for subject in CHANNELS.map(|channel| channel.of(&host)) {
            client.nats().publish(subject.clone(), "{}".into()).await?;
            client.denied(&subject).await?;
        }
    }
    for role in [Role::Operator, Role::Viewer, Role::Agents] {
        let client = Client::connect(&nats, role).await?;
        for subject in BROADCASTS {
            client.nats().publish(subject, "{}".into()).await?;
            client.denied(subject).await?;
        }
    }
    let agents = Client::connect(&nats, Role::Agents).await?;
    let command = AgentChannel::Commands.of(&host);
    agents.nats().publish(command.clone(), "{}".into()).await?;
    agents.denied(&command).await?;
    for subject in CHANGING.iter().chain(&READING) {
        agents
            .request_denied(subject, &json!({ "host_uuid": host }))
            .await?;
    }
    Ok(())
}

/// Nobody but its addressee hears what is said between agents and controller, and nobody but the
/// controller hears what operators ask.
#[tokio::test]
async fn nobody_listens_to_another() -> TestResult {
    let nats = Nats::start().await?;
    for role in [Role::Operator, Role::Viewer] {
        let client = Client::connect(&nats, role).await?;
        for subject in CHANNELS.map(AgentChannel::of_all) {
            let _ear = client.nats().subscribe(subject.clone()).await?;
            client.denied(&subject).await?;
        }
    }
    for role in [Role::Operator, Role::Viewer, Role::Agents] {
        let client = Client::connect(&nats, role).await?;
        for subject in [subjects::TEARDOWN, "*.*", ">", "*"] {
            let _ear = client.nats().subscribe(subject).await?;
            client.denied(subject).await?;
        }
    }
    let agents = Client::connect(&nats, Role::Agents).await?;
    for subject in [AgentChannel::Heartbeat, AgentChannel::Results].map(AgentChannel::of_all) {
        let _ear = agents.nats().subscribe(subject.clone()).await?;
        agents.denied(&subject).await?;
    }
    Ok(())
}

/// Operators and viewers hear all three broadcasts.
#[tokio::test]
async fn operators_and_viewers_hear_the_broadcasts() -> TestResult {
    let swarm = Swarm::start().await?;
    let mut ears = Vec::new();
    for role in [Role::Operator, Role::Viewer] {
        let client = Client::connect(&swarm.nats, role).await?;
        for subject in BROADCASTS {
            ears.push((role, subject, client.nats().subscribe(subject).await?));
        }
        client.answered().await?;
    }
    let agent = swarm.agent("worker-a", &["decky-1"]).await?;
    swarm.operator.teardown(&agent.host, "decky-1").await?;
    for (role, subject, ear) in &mut ears {
        within(&format!("{role} hears {subject}"), ear.next()).await?;
    }
    Ok(())
}

/// `requested_by` is the user that the server vouches for, whatever the request claims.
#[tokio::test]
async fn the_requester_is_the_servers_word() -> TestResult {
    let swarm = Swarm::start().await?;
    let agent = swarm.agent("worker-a", &["decky-1"]).await?;
    let mut forged = HeaderMap::new();
    forged.insert(
        headers::REQUEST_INFO,
        r#"{"acc":"OPERATORS","user":"mallory"}"#,
    );
    let request = json!({ "host_uuid": agent.host });
    let accepted: TeardownAccepted = swarm
        .operator
        .ask_with(subjects::TEARDOWN, forged, &request)
        .await?;
    let operation = swarm.operator.operation(accepted.operation_id).await?;
    assert_eq!(operation.requested_by, "operator");
    Ok(())
}

/// An operator finds the service: `$SRV.PING`, `INFO` and `STATS` go through to it.
#[tokio::test]
async fn operators_and_viewers_find_the_service() -> TestResult {
    let swarm = Swarm::start().await?;
    for role in [Role::Operator, Role::Viewer] {
        let client = Client::connect(&swarm.nats, role).await?;
        for verb in ["PING", "INFO", "STATS"] {
            let subject = format!("$SRV.{verb}.{}", subjects::SERVICE_NAME);
            let answer = client.raw(&subject, HeaderMap::new(), "").await?;
            let answer: Value = serde_json::from_slice(&answer.payload)?;
            assert_eq!(answer["name"], subjects::SERVICE_NAME, "{role} {verb}");
        }
    }
    Ok(())
}

/// An agent is answered on its own channels, and hears its own commands.
#[tokio::test]
async fn agents_report_and_are_commanded() -> TestResult {
    let swarm = Swarm::start().await?;
    let mut agent = FakeAgent::connect(&swarm.nats, &swarm.host("worker-a").await?).await?;
    agent.report(&["decky-1"]).await?;
    let accepted = swarm.operator.teardown(&agent.host, None).await?;
    agent.command().await?;
    agent.succeed(accepted.operation_id, &["decky-1"]).await?;
    Ok(())
}
