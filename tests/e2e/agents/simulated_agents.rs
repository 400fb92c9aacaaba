//! Whole swarms: simulated hosts behind the real agent library, with faults, crashes and restarts.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::Result;
use scuttle_schemas::operations::{OperationRecord, OperationState, OperationsList};
use scuttle_schemas::shards::{ShardRecord, ShardState};
use scuttle_schemas::{HostId, subjects};
use scuttle_tests::clients::replica_view::clear_last_seen;
use scuttle_tests::{Cluster, ReplicaView, Simulator, TestResult, wait_until};
use serde_json::json;

/// A simulator of a few hosts with three deckies each.
struct Plan {
    hosts: usize,
    faults: Vec<&'static str>,
    dir: PathBuf,
}

impl Plan {
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

/// Waits until every host's inventory is on the record, and gives the hosts.
async fn registered(cluster: &Cluster, hosts: usize) -> Result<Vec<HostId>> {
    let all = |shards: &Vec<ShardRecord>| shards.len() == 3 * hosts;
    let shards = wait_until(
        "all shards are registered",
        || cluster.operator.list_shards(),
        all,
    )
    .await?;
    let hosts: BTreeSet<HostId> = shards.into_iter().map(|shard| shard.host_uuid).collect();
    Ok(hosts.into_iter().collect())
}

/// Waits until nothing is open.
async fn settled(cluster: &Cluster) -> Result<Vec<OperationRecord>> {
    let ended = |operations: &Vec<OperationRecord>| {
        operations
            .iter()
            .all(|operation| operation.finished_at.is_some())
    };
    wait_until(
        "every operation ends",
        || cluster.operator.list_operations(),
        ended,
    )
    .await
}

/// Single deckies and whole hosts go, through the agents' own code.
#[tokio::test]
async fn a_swarm_is_torn_down() -> TestResult {
    let cluster = Cluster::start().await?;
    let plan = Plan::new(&cluster, 4, &["--teardown-ms", "10..50"]);
    let _sim = plan.start(&cluster).await?;
    let hosts = registered(&cluster, 4).await?;
    let mut view = ReplicaView::open(&cluster.operator, 5).await?;
    let decky = cluster.operator.list_shards().await?.remove(0).decky_id;
    cluster
        .operator
        .tear_down(&hosts[0], decky.as_str())
        .await?;
    for host in &hosts {
        cluster.operator.tear_down(host, None).await?;
    }
    let operations = settled(&cluster).await?;
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

/// Every teardown fails: its errors are seen, heartbeats do not clear them, and nothing is lost.
#[tokio::test]
async fn failures_are_seen() -> TestResult {
    let cluster = Cluster::start().await?;
    let plan = Plan::new(
        &cluster,
        2,
        &["--teardown-ms", "10..50", "--fail-rate", "1"],
    );
    let _sim = plan.start(&cluster).await?;
    let hosts = registered(&cluster, 2).await?;
    for host in &hosts {
        cluster.operator.tear_down(host, None).await?;
    }
    for operation in settled(&cluster).await? {
        assert_eq!(operation.state, OperationState::Failed, "{operation:?}");
        assert!(
            operation.error.is_some() && operation.counts.failed > 0,
            "{operation:?}"
        );
    }
    let before = cluster.operator.list_hosts().await?;
    let beaten = || cluster.operator.list_hosts();
    let later = |hosts: &std::collections::BTreeMap<HostId, _>| {
        hosts
            .iter()
            .all(|(id, host): (_, &scuttle_schemas::hosts::HostRecord)| {
                host.last_heartbeat > before[id].last_heartbeat
            })
    };
    wait_until("a heartbeat of each host", beaten, later).await?;
    let shards = cluster.operator.list_shards().await?;
    assert!(!shards.is_empty());
    for shard in shards {
        assert_eq!(shard.state, ShardState::TeardownFailed, "{shard:?}");
        assert!(shard.last_error.is_some(), "{shard:?}");
    }
    Ok(())
}

/// kill -9 of every agent amid its teardown, and a restart on the same data directory: the operations end
/// with what the agents find, and the record agrees with it.
#[tokio::test]
async fn agents_killed_amid_a_teardown_finish_it() -> TestResult {
    let cluster = Cluster::start().await?;
    let plan = Plan::new(&cluster, 3, &["--teardown-ms", "700..900"]);
    let mut sim = plan.start(&cluster).await?;
    let hosts = registered(&cluster, 3).await?;
    for host in &hosts {
        cluster.operator.tear_down(host, None).await?;
    }
    let request = json!({ "state": "running" });
    let running = || {
        cluster
            .operator
            .request::<OperationsList>(subjects::OPERATIONS_LIST, &request)
    };
    wait_until("all are amid it", running, |page| {
        page.operations.len() == 3
    })
    .await?;
    sim.process().kill().await?;

    let _again = plan.start(&cluster).await?;
    for operation in settled(&cluster).await? {
        assert_eq!(operation.state, OperationState::Succeeded, "{operation:?}");
    }
    assert_eq!(cluster.operator.list_shards().await?, []);
    Ok(())
}

/// Commands doubled, agents crashing and going away, teardowns failing, the controller killed under it:
/// with retries everything is gone in the end, and a subscriber's view says so.
#[tokio::test]
async fn a_faulty_swarm_is_torn_down_in_the_end() -> TestResult {
    let mut cluster = Cluster::start().await?;
    let faults = [
        ["--teardown-ms", "10..100"],
        ["--fail-rate", "0.3"],
        ["--crash-rate", "0.2"],
        ["--duplicate-rate", "0.5"],
        ["--offline-rate", "0.1"],
    ];
    let plan = Plan::new(&cluster, 5, faults.as_flattened());
    let _sim = plan.start(&cluster).await?;
    let hosts = registered(&cluster, 5).await?;
    for round in 0..10 {
        for host in &hosts {
            cluster.operator.tear_down(host, None).await?;
        }
        if round < 2 {
            cluster.crash_controller().await?;
        }
        settled(&cluster).await?;
        if cluster.operator.list_shards().await?.is_empty() {
            break;
        }
    }
    let mut view = ReplicaView::open(&cluster.operator, 5).await?;
    let (revision, shards) = cluster.operator.list_shards_paged(10).await?;
    assert_eq!(shards, [], "after ten rounds");
    view.follow_until(revision).await?;
    assert_eq!(clear_last_seen(view.shards()), []);
    Ok(())
}
