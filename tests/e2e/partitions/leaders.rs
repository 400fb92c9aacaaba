//! The distribution of partitions among controllers that start and stop.

use std::time::Duration;

use scuttle_schemas::operations::OperationState;
use scuttle_schemas::{ErrorCode, subjects};
use scuttle_tests::clients::replica_view::ReplicaView;
use scuttle_tests::wait::with_timeout;
use scuttle_tests::{Controller, RequestError, Role, TestResult, wait_until};

use super::{connect_jetstream, one_host_per_partition, partition_count, start_cluster};

/// A single controller leads all partitions. With a second controller, each leads half of them.
/// When one is killed, the remaining controller leads all partitions again. No accepted operation
/// is lost.
#[tokio::test]
async fn partitions_are_balanced_over_the_running_controllers() -> TestResult {
    let mut cluster = start_cluster(1).await?;
    cluster.wait_until_balanced(&[4.0]).await?;
    let mut agents = Vec::new();
    for host in one_host_per_partition() {
        agents.push(
            cluster
                .start_agent_with_id(&host, &["d1", "d2", "d3"])
                .await?,
        );
    }
    let mut accepted = Vec::new();
    for agent in &agents {
        accepted.push(cluster.operator.tear_down(&agent.host, "d1").await?);
    }
    cluster.add_controller().await?;
    cluster.wait_until_balanced(&[2.0, 2.0]).await?;
    for (agent, accepted) in agents.iter_mut().zip(&accepted) {
        agent.report_success(accepted.operation_id, &["d1"]).await?;
        let ended = cluster.operator.wait_for_end(accepted.operation_id).await?;
        assert_eq!(ended.state, OperationState::Succeeded);
    }
    let mut accepted = Vec::new();
    for agent in &agents {
        accepted.push(cluster.operator.tear_down(&agent.host, "d2").await?);
    }
    cluster.controllers[0].kill().await?;
    cluster.controllers.remove(0);
    cluster.wait_until_balanced(&[4.0]).await?;
    for (agent, accepted) in agents.iter_mut().zip(&accepted) {
        agent.report_success(accepted.operation_id, &["d2"]).await?;
        let ended = cluster.operator.wait_for_end(accepted.operation_id).await?;
        assert_eq!(ended.state, OperationState::Succeeded);
        assert_eq!(
            cluster.operator.shard_states(&agent.host).await?,
            "d3 running"
        );
    }
    Ok(())
}

/// After the restarts, a subscriber's view shows exactly the deckies that were not torn down.
#[tokio::test]
async fn a_view_survives_restarts_of_the_leaders_that_number_the_broadcasts() -> TestResult {
    let mut cluster = start_cluster(2).await?;
    cluster.wait_until_balanced(&[2.0, 2.0]).await?;
    let mut agents = Vec::new();
    for host in one_host_per_partition() {
        agents.push(
            cluster
                .start_agent_with_id(&host, &["d1", "d2", "d3"])
                .await?,
        );
    }
    let operator = cluster.connect(Role::Operator).await?;
    let mut view = ReplicaView::open(&operator, 500).await?;
    for number in [0, 1] {
        cluster.controllers[number].restart().await?;
        cluster.wait_until_partitions_are_led().await?;
        for agent in &mut agents {
            let decky = format!("d{}", number + 1);
            let attempt = || cluster.operator.tear_down(&agent.host, &*decky);
            let accepted = wait_until("the teardown is accepted", attempt, |_| true).await?;
            agent
                .report_success(accepted.operation_id, &[&decky])
                .await?;
            cluster.operator.wait_for_end(accepted.operation_id).await?;
        }
    }
    let (revision, _) = cluster.operator.list_shards_paged(500).await?;
    view.follow_until(revision).await?;
    let shown: Vec<_> = view
        .shards()
        .iter()
        .map(|shard| shard.decky_id.to_string())
        .collect();
    assert_eq!(shown, ["d3"; 4]);
    Ok(())
}

/// The hosts of all other partitions are still served. A list is rejected, because it would be
/// incomplete.
#[tokio::test]
async fn a_list_is_rejected_while_a_partition_has_no_leader() -> TestResult {
    let cluster = start_cluster(1).await?;
    let context = connect_jetstream(&cluster).await?;
    let leases = context.get_key_value(subjects::LEASES_BUCKET).await?;
    let leaderless = partition_count()
        .iter()
        .nth(2)
        .expect("at least three partitions");
    let mut served = one_host_per_partition();
    served.retain(|host| partition_count().partition_of_host(host) != leaderless);
    for host in &served {
        let attempt = || cluster.start_agent_with_id(host, &["d1"]);
        wait_until("the host is enrolled", attempt, |_| true).await?;
    }
    // The lease is held by this task, which does not lead, for as long as the task runs.
    let key = subjects::lease_key(leaderless);
    let holding = tokio::spawn(async move {
        let mut renewal = tokio::time::interval(Duration::from_millis(200));
        loop {
            renewal.tick().await;
            let _ = leases.put(&key, "this test".into()).await;
        }
    });
    let list = || async {
        match cluster.operator.list_shards().await {
            Err(RequestError::Rejected(why)) if why.code == ErrorCode::NotLeader => Ok(()),
            other => Err(format!("{other:?}")),
        }
    };
    wait_until("the list is rejected", list, |()| true).await?;
    for host in &served {
        cluster.operator.tear_down(host, "d1").await?;
    }
    holding.abort();
    with_timeout("the list", cluster.wait_until_partitions_are_led()).await??;
    assert_eq!(cluster.operator.list_shards().await?.len(), 3);
    Ok(())
}

/// A controller with another partition count would assign hosts to other partitions.
#[tokio::test]
async fn a_controller_with_another_partition_count_ends_with_an_error() -> TestResult {
    let cluster = start_cluster(1).await?;
    for number in [1, 2, 5] {
        let mut environment = cluster.controller_environment();
        environment.push(("SCUTTLE_PARTITIONS", number.to_string()));
        let data_dir = cluster.path(&format!("of-{number}"));
        let mut other = Controller::start(&cluster.url(), environment, &data_dir)?;
        let process = other.process();
        let code = process.wait_for_exit().await?.code();
        assert_eq!(code, Some(1), "{}", process.log());
        let text = format!("--partitions is {number}");
        assert!(process.log().contains(&text), "{}", process.log());
    }
    assert_eq!(cluster.operator.list_shards().await?.len(), 0);
    Ok(())
}
