//! The servers themselves: each may be missing; without two of them nothing is accepted, until they are back.

use anyhow::Result;
use scuttle_schemas::{Partition, subjects};
use scuttle_tests::{NatsCluster, Role, TestResult, until};

use super::stage::{AuditSubject, Stage};

#[tokio::test]
async fn three_servers_are_one_again_after_each_was_killed() -> TestResult {
    let mut cluster = NatsCluster::start().await?;
    cluster.client(Role::Operator).await?;
    for server in 0..cluster.servers.len() {
        cluster.servers[server].kill().await?;
        cluster.servers[server].restart().await?;
        cluster.formed().await?;
    }
    Ok(())
}

/// The one that leads the journal's stream is killed: another leads it, and it goes on without a decky lost.
#[tokio::test]
async fn the_stream_goes_on_without_the_server_that_led_it() -> TestResult {
    let mut stage = Stage::start().await?;
    let agent = stage.agent("worker-a", &["decky-1", "decky-2"]).await?;
    let first = stage.operator.teardown(&agent.host, "decky-1").await?;
    let server = stage
        .cluster
        .leader_of(&subjects::journal_stream_name(Partition::FIRST))
        .await?;
    stage.cluster.servers[server].kill().await?;
    let asked = || stage.operator.teardown(&agent.host, "decky-2");
    let second = until("it is accepted without that server", asked, |_| true).await?;

    stage.cluster.servers[server].restart().await?;
    stage.cluster.formed().await?;
    stage.settled().await?;
    for operation in [first, second] {
        stage.operator.operation(operation.operation_id).await?;
    }
    Ok(())
}

/// Without two of three, nobody leads and nothing is accepted. What was asked for meanwhile may have been written and never
/// answered: asked again under its key, it is one operation.
#[tokio::test]
async fn nothing_is_accepted_without_two_servers() -> TestResult {
    let mut stage = Stage::start().await?;
    let agent = stage.agent("worker-a", &["decky-1", "decky-2"]).await?;
    let before = stage.operator.teardown(&agent.host, "decky-1").await?;
    let leader = stage.settled().await?;
    let kept = stage
        .cluster
        .leader_of(&subjects::journal_stream_name(Partition::FIRST))
        .await?;
    let lost: Vec<_> = (0..3).filter(|server| *server != kept).collect();
    for server in &lost {
        stage.cluster.servers[*server].kill().await?;
    }
    // Its connection may have gone with a server: to the one that is left, then.
    let operator = connect_to(&stage, kept).await?;
    let mut late = AuditSubject::for_teardown(&operator, &agent.host, "decky-2", "late").await?;
    let process = stage.controllers[leader].process();
    process.line("stepped down").await?;

    for server in &lost {
        stage.cluster.servers[*server].restart().await?;
    }
    stage.cluster.formed().await?;
    stage.settled().await?;
    late.refused(&stage.operator).await?;
    late.again(&stage.operator).await?;
    stage.operator.operation(before.operation_id).await?;
    Ok(())
}

async fn connect_to(stage: &Stage, server: usize) -> Result<scuttle_tests::Client> {
    let options = stage.cluster.options(Role::Operator);
    scuttle_tests::Client::with(options, &stage.cluster.servers[server].url()).await
}
