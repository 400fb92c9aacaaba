//! Three controllers over three nats-servers: one leads, the others follow and take over.

use scuttle_tests::{Cluster, Role, TestResult};

#[tokio::test]
async fn three_servers_are_one_again_after_each_was_killed() -> TestResult {
    let mut cluster = Cluster::start().await?;
    cluster.client(Role::Operator).await?;
    for server in 0..cluster.servers.len() {
        cluster.servers[server].kill().await?;
        cluster.servers[server].restart().await?;
        cluster.formed().await?;
    }
    Ok(())
}
