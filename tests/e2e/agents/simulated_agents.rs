//! Swarms of simulated hosts that run the real agent library, with faults, crashes and restarts.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::Result;
use scuttle_schemas::operations::{OperationRecord, OperationState, OperationsList};
use scuttle_schemas::shards::{ShardRecord, ShardState};
use scuttle_schemas::{HostId, subjects};
use scuttle_tests::clients::replica_view::clear_last_seen;
use scuttle_tests::{Cluster, ReplicaView, Simulator, TestResult, wait_until};
use serde_json::json;

/// The settings of a simulator whose hosts have three deckies each.
struct SimulationPlan {
    hosts: usize,
    faults: Vec<&'static str>,
    dir: PathBuf,
}

impl SimulationPlan {
    fn new(cluster: &Cluster, hosts: usize, faults: &[&'static str]) -> Self {
        Self {
            hosts,
            faults: faults.to_vec(),
            dir: cluster.path("sim"),
        }
    }

    async fn start(&self, cluster: &Cluster) -> Result<Simulator> {
        let hosts = self.hosts.to_string();
        let mut arguments = vec!["--hosts", &hosts, "--deckies-per-host", "3", "--enroll"];
        arguments.extend(["--heartbeat-ms", "200", "--seed", "1"]);
        arguments.extend(&self.faults);
        cluster.start_simulator(&self.dir, &arguments).await
    }
}

/// Waits until the record contains every shard of `hosts` hosts, and returns the ids of the hosts.
async fn wait_until_registered(cluster: &Cluster, hosts: usize) -> Result<Vec<HostId>> {
    let are_all_registered = |shards: &Vec<ShardRecord>| shards.len() == 3 * hosts;
    let shards = wait_until(
        "all shards are registered",
        || cluster.operator.list_shards(),
        are_all_registered,
    )
    .await?;
    let hosts: BTreeSet<HostId> = shards.into_iter().map(|shard| shard.host_uuid).collect();
    Ok(hosts.into_iter().collect())
}

/// Waits until no operation is open, and returns all operations.
async fn wait_until_all_ended(cluster: &Cluster) -> Result<Vec<OperationRecord>> {
    let have_all_ended = |operations: &Vec<OperationRecord>| {
        operations
            .iter()
            .all(|operation| operation.finished_at.is_some())
    };
    wait_until(
        "every operation ends",
        || cluster.operator.list_operations(),
        have_all_ended,
    )
    .await
}

/// The agents tear down single deckies and whole hosts.
#[tokio::test]
async fn a_swarm_without_faults_is_torn_down() -> TestResult {
    let cluster = Cluster::start().await?;
    let plan = SimulationPlan::new(&cluster, 4, &["--teardown-ms", "10..50"]);
    let _sim = plan.start(&cluster).await?;
    let hosts = wait_until_registered(&cluster, 4).await?;
    let mut view = ReplicaView::open(&cluster.operator, 5).await?;
    let decky = cluster.operator.list_shards().await?.remove(0).decky_id;
    cluster
        .operator
        .tear_down(&hosts[0], decky.as_str())
        .await?;
    for host in &hosts {
        cluster.operator.tear_down(host, None).await?;
    }
    let operations = wait_until_all_ended(&cluster).await?;
    assert_eq!(operations.len(), 5);
    for operation in &operations {
        assert_eq!(operation.state, OperationState::Succeeded, "{operation:?}");
        assert_eq!((operation.counts.pending, operation.counts.failed), (0, 0));
    }
    let (revision, shards) = cluster.operator.list_shards_paged(10).await?;
    assert_eq!(shards, []);
    view.follow_until(revision).await?;
    assert_eq!(view.shards(), []);
    Ok(())
}

/// Every teardown fails. The record shows the errors, and heartbeats do not clear them.
#[tokio::test]
async fn errors_of_failed_teardowns_stay_on_the_record() -> TestResult {
    let cluster = Cluster::start().await?;
    let plan = SimulationPlan::new(
        &cluster,
        2,
        &["--teardown-ms", "10..50", "--fail-rate", "1"],
    );
    let _sim = plan.start(&cluster).await?;
    let hosts = wait_until_registered(&cluster, 2).await?;
    for host in &hosts {
        cluster.operator.tear_down(host, None).await?;
    }
    for operation in wait_until_all_ended(&cluster).await? {
        assert_eq!(operation.state, OperationState::Failed, "{operation:?}");
        assert!(
            operation.error.is_some() && operation.counts.failed > 0,
            "{operation:?}"
        );
    }
    let before = cluster.operator.list_hosts().await?;
    let list_hosts = || cluster.operator.list_hosts();
    let have_all_beaten = |hosts: &std::collections::BTreeMap<HostId, _>| {
        hosts
            .iter()
            .all(|(id, host): (_, &scuttle_schemas::hosts::HostRecord)| {
                host.last_heartbeat > before[id].last_heartbeat
            })
    };
    wait_until("a heartbeat of each host", list_hosts, have_all_beaten).await?;
    let shards = cluster.operator.list_shards().await?;
    assert!(!shards.is_empty());
    for shard in shards {
        assert_eq!(shard.state, ShardState::TeardownFailed, "{shard:?}");
        assert!(shard.last_error.is_some(), "{shard:?}");
    }
    Ok(())
}

/// All agents are killed (SIGKILL) during their teardowns and restarted on the same data directory.
/// All operations succeed, and no shard is left in the record.
#[tokio::test]
async fn agents_that_are_killed_during_a_teardown_finish_the_teardown() -> TestResult {
    let cluster = Cluster::start().await?;
    let plan = SimulationPlan::new(&cluster, 3, &["--teardown-ms", "700..900"]);
    let mut sim = plan.start(&cluster).await?;
    let hosts = wait_until_registered(&cluster, 3).await?;
    for host in &hosts {
        cluster.operator.tear_down(host, None).await?;
    }
    let request = json!({ "state": "running" });
    let list_running = || {
        cluster
            .operator
            .request::<OperationsList>(subjects::OPERATIONS_LIST, &request)
    };
    wait_until("all operations are running", list_running, |page| {
        page.operations.len() == 3
    })
    .await?;
    sim.process().kill().await?;

    let _restarted = plan.start(&cluster).await?;
    for operation in wait_until_all_ended(&cluster).await? {
        assert_eq!(operation.state, OperationState::Succeeded, "{operation:?}");
    }
    assert_eq!(cluster.operator.list_shards().await?, []);
    Ok(())
}

/// Commands are duplicated, agents crash and go offline, teardowns fail, and the controller is
/// killed. With retries, all deckies are removed in the end, and a subscriber's view agrees with
/// the record.
#[tokio::test]
async fn a_swarm_with_faults_is_torn_down_by_retries() -> TestResult {
    let mut cluster = Cluster::start().await?;
    let faults = [
        ["--teardown-ms", "10..100"],
        ["--fail-rate", "0.3"],
        ["--crash-rate", "0.2"],
        ["--duplicate-rate", "0.5"],
        ["--offline-rate", "0.1"],
    ];
    let plan = SimulationPlan::new(&cluster, 5, faults.as_flattened());
    let _sim = plan.start(&cluster).await?;
    let hosts = wait_until_registered(&cluster, 5).await?;
    for round in 0..10 {
        for host in &hosts {
            cluster.operator.tear_down(host, None).await?;
        }
        if round < 2 {
            cluster.crash_controller().await?;
        }
        wait_until_all_ended(&cluster).await?;
        if cluster.operator.list_shards().await?.is_empty() {
            break;
        }
    }
    let mut view = ReplicaView::open(&cluster.operator, 5).await?;
    let (revision, shards) = cluster.operator.list_shards_paged(10).await?;
    assert_eq!(shards, [], "shards are left after ten rounds");
    view.follow_until(revision).await?;
    assert_eq!(clear_last_seen(view.shards()), []);
    Ok(())
}
