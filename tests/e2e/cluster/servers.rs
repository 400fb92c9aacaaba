//! Failures of the NATS servers. The cluster works with any two of its three servers. With only one
//! server, nothing is accepted.

use anyhow::Result;
use scuttle_schemas::{Partition, subjects};
use scuttle_tests::{Cluster, Role, TestResult, wait_until};

use super::pending_teardown::PendingTeardown;
use super::start_cluster;

#[tokio::test]
async fn a_cluster_of_servers_forms_again_after_each_server_was_killed() -> TestResult {
    let mut cluster = Cluster::builder().servers(3).controllers(0).start().await?;
    for server in 0..cluster.servers.len() {
        cluster.servers[server].kill().await?;
        cluster.servers[server].restart().await?;
        cluster.wait_until_formed().await?;
    }
    Ok(())
}

/// The server that leads the journal's stream is killed. Another server leads the stream from then
/// on, and no operation is lost.
#[tokio::test]
async fn the_journal_continues_without_the_server_that_led_its_stream() -> TestResult {
    let mut cluster = start_cluster().await?;
    let agent = cluster
        .start_agent("worker-a", &["decky-1", "decky-2"])
        .await?;
    let first = cluster.operator.tear_down(&agent.host, "decky-1").await?;
    let server = cluster
        .wait_for_stream_leader(&subjects::journal_stream_name(Partition::FIRST))
        .await?;
    cluster.servers[server].kill().await?;
    let request = || cluster.operator.tear_down(&agent.host, "decky-2");
    let second = wait_until(
        "the teardown is accepted without the server",
        request,
        |_| true,
    )
    .await?;

    cluster.servers[server].restart().await?;
    cluster.wait_until_formed().await?;
    cluster.wait_for_leader().await?;
    for operation in [first, second] {
        cluster.operator.operation(operation.operation_id).await?;
    }
    Ok(())
}

/// While two of the three servers are down, no controller leads and nothing is accepted. A request
/// that was sent during this outage may be durable even if it got no reply. If it is sent again
/// with the same key, it is still one operation.
#[tokio::test]
async fn nothing_is_accepted_without_two_servers() -> TestResult {
    let mut cluster = start_cluster().await?;
    let agent = cluster
        .start_agent("worker-a", &["decky-1", "decky-2"])
        .await?;
    let before = cluster.operator.tear_down(&agent.host, "decky-1").await?;
    let leader = cluster.wait_for_leader().await?;
    let remaining = cluster
        .wait_for_stream_leader(&subjects::journal_stream_name(Partition::FIRST))
        .await?;
    let killed: Vec<_> = (0..3).filter(|server| *server != remaining).collect();
    for server in &killed {
        cluster.servers[*server].kill().await?;
    }
    // The operator's connection may have been to a killed server: connect to the remaining one.
    let operator = connect_to(&cluster, remaining).await?;
    let mut pending = PendingTeardown::send(&operator, &agent.host, "decky-2", "late").await?;
    let process = cluster.controllers[leader].process();
    process.wait_for_line("stepped down").await?;

    for server in &killed {
        cluster.servers[*server].restart().await?;
    }
    cluster.wait_until_formed().await?;
    cluster.wait_for_leader().await?;
    pending.count_rejections(&cluster.operator).await?;
    pending.resend(&cluster.operator).await?;
    cluster.operator.operation(before.operation_id).await?;
    Ok(())
}

async fn connect_to(cluster: &Cluster, server: usize) -> Result<scuttle_tests::Client> {
    let options = cluster.passwords().connect_options(Role::Operator);
    scuttle_tests::Client::connect_with(options, &cluster.servers[server].url()).await
}
