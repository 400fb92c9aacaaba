//! Two agents that report for one host, and an agent with the credentials of another host.

use scuttle_schemas::HostId;
use scuttle_schemas::agents::TWO_AGENTS_NOTE;
use scuttle_schemas::hosts::{HostRecord, HostStatus};
use scuttle_schemas::operations::OperationState;
use scuttle_tests::programs::agent::AgentOptions;
use scuttle_tests::{Cluster, ProvisionedServer, TestResult, wait_until};

fn has_note(host: &HostRecord) -> bool {
    let is_note = |note: &str| note.starts_with(TWO_AGENTS_NOTE);
    host.notes.iter().any(|note| is_note(note.as_str()))
}

/// The second agent has the id of the host and another data directory. The first agent takes its
/// place again after the second agent has ended.
#[tokio::test]
async fn a_host_is_back_after_a_second_agent_ran_for_a_while() -> TestResult {
    let cluster = Cluster::start().await?;
    let arguments = [
        "--hosts=1",
        "--deckies-per-host=2",
        "--enroll",
        "--heartbeat-ms=500",
    ];
    let mut first = cluster
        .start_simulator(&cluster.path("sim"), &arguments)
        .await?;
    let host: HostId = "sim-0001".parse()?;
    let find_host = || cluster.operator.host(&host);
    let is_back = |host: &HostRecord| host.status == HostStatus::Online && !has_note(host);
    wait_until("the host is online", find_host, is_back).await?;

    let mut second = cluster
        .start_simulator(&cluster.path("stray"), &arguments)
        .await?;
    wait_until("the host's notes name two agents", find_host, has_note).await?;
    for agent in [&mut first, &mut second] {
        agent.process().wait_for_line(TWO_AGENTS_NOTE).await?;
    }

    drop(second);
    first.process().wait_for_line("takes its place").await?;
    wait_until("the host is back", find_host, is_back).await?;
    let accepted = cluster.operator.tear_down(&host, "decky-01").await?;
    let operation = cluster.operator.wait_for_end(accepted.operation_id).await?;
    assert_eq!(operation.state, OperationState::Succeeded);
    Ok(())
}

#[tokio::test]
async fn an_agent_with_the_credentials_of_another_host_exits_with_an_explanation() -> TestResult {
    let server = ProvisionedServer::start().await?;
    let _controller = server.start_controller().await?;
    let host: HostId = "worker-a".parse()?;
    server.enroll("worker-a").await?;
    let credentials = server.enroll("worker-b").await?;
    let agent = AgentOptions {
        url: server.url(),
        login: vec![(
            "SCUTTLE_NATS_CREDS",
            credentials.to_string_lossy().into_owned(),
        )],
        host: host.clone(),
        docker: "unix:///nowhere/docker.sock".to_owned(),
        data_dir: server.path("agent"),
        flags: Vec::new(),
        launcher: Vec::new(),
    };
    let mut agent = agent.start()?;
    let line = agent.wait_for_line("cannot act for host worker-a").await?;
    for word in [
        "worker-b",
        "worker-b.creds",
        "the NATS server denies",
        "--host-uuid",
    ] {
        assert!(line.contains(word), "{word:?} is missing in: {line}");
    }
    assert_eq!(agent.wait_for_exit().await?.code(), Some(2));
    let admin = server.connect(&server.credentials("admin")).await?;
    let record = admin.host(&host).await?;
    assert_eq!(record.status, HostStatus::Enrolled);
    Ok(())
}
