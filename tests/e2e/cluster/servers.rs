//! The servers themselves: each may be missing; without two of them nothing is accepted, until they are back.

use anyhow::Result;
use scuttle_schemas::{Partition, subjects};
use scuttle_tests::{Cluster, Role, TestResult, wait_until};

use super::pending_teardown::PendingTeardown;
use super::start_cluster;

#[tokio::test]
async fn three_servers_are_one_again_after_each_was_killed() -> TestResult {
    let mut cluster = Cluster::builder().servers(3).controllers(0).start().await?;
    for server in 0..cluster.servers.len() {
        cluster.servers[server].kill().await?;
        cluster.servers[server].restart().await?;
        cluster.wait_until_formed().await?;
    }
    Ok(())
}

/// The one that leads the journal's stream is killed: another leads it, and it goes on without a decky lost.
#[tokio::test]
async fn the_stream_goes_on_without_the_server_that_led_it() -> TestResult {
    let mut cluster = start_cluster().await?;
    let agent = cluster
        .start_agent("worker-a", &["decky-1", "decky-2"])
        .await?;
    let first = cluster.operator.tear_down(&agent.host, "decky-1").await?;
    let server = cluster
        .wait_for_stream_leader(&subjects::journal_stream_name(Partition::FIRST))
        .await?;
    cluster.servers[server].kill().await?;
    let asked = || cluster.operator.tear_down(&agent.host, "decky-2");
    let second = wait_until("it is accepted without that server", asked, |_| true).await?;

    cluster.servers[server].restart().await?;
    cluster.wait_until_formed().await?;
    cluster.wait_for_leader().await?;
    for operation in [first, second] {
        cluster.operator.operation(operation.operation_id).await?;
    }
    Ok(())
}

/// Without two of three, nobody leads and nothing is accepted. What was asked for meanwhile may have been written and never
/// answered: asked again under its key, it is one operation.
#[tokio::test]
async fn nothing_is_accepted_without_two_servers() -> TestResult {
    let mut cluster = start_cluster().await?;
    let agent = cluster
        .start_agent("worker-a", &["decky-1", "decky-2"])
        .await?;
    let before = cluster.operator.tear_down(&agent.host, "decky-1").await?;
    let leader = cluster.wait_for_leader().await?;
    let kept = cluster
        .wait_for_stream_leader(&subjects::journal_stream_name(Partition::FIRST))
        .await?;
    let lost: Vec<_> = (0..3).filter(|server| *server != kept).collect();
    for server in &lost {
        cluster.servers[*server].kill().await?;
    }
    // Its connection may have gone with a server: to the one that is left, then.
    let operator = connect_to(&cluster, kept).await?;
    let mut late = PendingTeardown::send(&operator, &agent.host, "decky-2", "late").await?;
    let process = cluster.controllers[leader].process();
    process.wait_for_line("stepped down").await?;

    for server in &lost {
        cluster.servers[*server].restart().await?;
    }
    cluster.wait_until_formed().await?;
    cluster.wait_for_leader().await?;
    late.count_rejections(&cluster.operator).await?;
    late.resend(&cluster.operator).await?;
    cluster.operator.operation(before.operation_id).await?;
    Ok(())
}

async fn connect_to(cluster: &Cluster, server: usize) -> Result<scuttle_tests::Client> {
    let options = cluster.passwords().connect_options(Role::Operator);
    scuttle_tests::Client::connect_with(options, &cluster.servers[server].url()).await
}
