//! Whole swarms: simulated hosts behind the real agent library, with faults, crashes and restarts.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::Result;
use scuttle_schemas::operations::{OperationRecord, OperationState, OperationsList};
use scuttle_schemas::shards::{ShardRecord, ShardState};
use scuttle_schemas::{HostId, subjects};
use scuttle_tests::clients::replica_view::told;
use scuttle_tests::{Sim, Swarm, TestResult, View, until};
use serde_json::json;

/// A simulator of a few hosts with three deckies each.
struct Plan {
    hosts: usize,
    faults: Vec<&'static str>,
    dir: PathBuf,
}

impl Plan {
    fn new(swarm: &Swarm, hosts: usize, faults: &[&'static str]) -> Self {
        Self {
            hosts,
            faults: faults.to_vec(),
            dir: swarm.path("sim"),
        }
    }

    async fn start(&self, swarm: &Swarm) -> Result<Sim> {
        let hosts = self.hosts.to_string();
        let mut arguments = vec!["--hosts", &hosts, "--deckies-per-host", "3", "--enroll"];
        arguments.extend(["--heartbeat-ms", "200", "--seed", "1"]);
        arguments.extend(&self.faults);
        Sim::start(&swarm.nats, &self.dir, &arguments).await
    }
}

/// Waits until every host's inventory is on the record, and gives the hosts.
async fn registered(swarm: &Swarm, hosts: usize) -> Result<Vec<HostId>> {
    let all = |shards: &Vec<ShardRecord>| shards.len() == 3 * hosts;
    let shards = until("all shards are registered", || swarm.operator.shards(), all).await?;
    let hosts: BTreeSet<HostId> = shards.into_iter().map(|shard| shard.host_uuid).collect();
    Ok(hosts.into_iter().collect())
}

/// Waits until nothing is open.
async fn settled(swarm: &Swarm) -> Result<Vec<OperationRecord>> {
    let ended = |operations: &Vec<OperationRecord>| {
        operations
            .iter()
            .all(|operation| operation.finished_at.is_some())
    };
    until(
        "every operation ends",
        || swarm.operator.operations(),
        ended,
    )
    .await
}

/// Single deckies and whole hosts go, through the agents' own code.
#[tokio::test]
async fn a_swarm_is_torn_down() -> TestResult {
    let swarm = Swarm::start().await?;
    let plan = Plan::new(&swarm, 4, &["--teardown-ms", "10..50"]);
    let _sim = plan.start(&swarm).await?;
    let hosts = registered(&swarm, 4).await?;
    let mut view = View::open(&swarm.operator, 5).await?;
    let decky = swarm.operator.shards().await?.remove(0).decky_id;
    swarm.operator.teardown(&hosts[0], decky.as_str()).await?;
    for host in &hosts {
        swarm.operator.teardown(host, None).await?;
    }
    let operations = settled(&swarm).await?;
    assert_eq!(operations.len(), 5);
    for operation in &operations {
        assert_eq!(operation.state, OperationState::Succeeded, "{operation:?}");
        assert_eq!((operation.counts.pending, operation.counts.failed), (0, 0));
    }
    let (revision, shards) = swarm.operator.shards_paged(10).await?;
    assert_eq!(shards, []);
    view.reach(revision).await?;
    assert_eq!(view.shards(), []);
    Ok(())
}

/// Every teardown fails: its errors are seen, heartbeats do not clear them, and nothing is lost.
#[tokio::test]
async fn failures_are_seen() -> TestResult {
    let swarm = Swarm::start().await?;
    let plan = Plan::new(&swarm, 2, &["--teardown-ms", "10..50", "--fail-rate", "1"]);
    let _sim = plan.start(&swarm).await?;
    let hosts = registered(&swarm, 2).await?;
    for host in &hosts {
        swarm.operator.teardown(host, None).await?;
    }
    for operation in settled(&swarm).await? {
        assert_eq!(operation.state, OperationState::Failed, "{operation:?}");
        assert!(
            operation.error.is_some() && operation.counts.failed > 0,
            "{operation:?}"
        );
    }
    let before = swarm.operator.hosts().await?;
    let beaten = || swarm.operator.hosts();
    let later = |hosts: &std::collections::BTreeMap<HostId, _>| {
        hosts
            .iter()
            .all(|(id, host): (_, &scuttle_schemas::hosts::HostRecord)| {
                host.last_heartbeat > before[id].last_heartbeat
            })
    };
    until("a heartbeat of each host", beaten, later).await?;
    let shards = swarm.operator.shards().await?;
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
    let swarm = Swarm::start().await?;
    let plan = Plan::new(&swarm, 3, &["--teardown-ms", "700..900"]);
    let mut sim = plan.start(&swarm).await?;
    let hosts = registered(&swarm, 3).await?;
    for host in &hosts {
        swarm.operator.teardown(host, None).await?;
    }
    let request = json!({ "state": "running" });
    let running = || {
        swarm
            .operator
            .ask::<OperationsList>(subjects::OPERATIONS_LIST, &request)
    };
    until("all are amid it", running, |page| {
        page.operations.len() == 3
    })
    .await?;
    sim.process().kill().await?;

    let _again = plan.start(&swarm).await?;
    for operation in settled(&swarm).await? {
        assert_eq!(operation.state, OperationState::Succeeded, "{operation:?}");
    }
    assert_eq!(swarm.operator.shards().await?, []);
    Ok(())
}

/// Commands doubled, agents crashing and going away, teardowns failing, the controller killed under it:
/// with retries everything is gone in the end, and a subscriber's view says so.
#[tokio::test]
async fn a_faulty_swarm_is_torn_down_in_the_end() -> TestResult {
    let mut swarm = Swarm::start().await?;
    let faults = [
        ["--teardown-ms", "10..100"],
        ["--fail-rate", "0.3"],
        ["--crash-rate", "0.2"],
        ["--duplicate-rate", "0.5"],
        ["--offline-rate", "0.1"],
    ];
    let plan = Plan::new(&swarm, 5, faults.as_flattened());
    let _sim = plan.start(&swarm).await?;
    let hosts = registered(&swarm, 5).await?;
    for round in 0..10 {
        for host in &hosts {
            swarm.operator.teardown(host, None).await?;
        }
        if round < 2 {
            swarm.crash_controller().await?;
        }
        settled(&swarm).await?;
        if swarm.operator.shards().await?.is_empty() {
            break;
        }
    }
    let mut view = View::open(&swarm.operator, 5).await?;
    let (revision, shards) = swarm.operator.shards_paged(10).await?;
    assert_eq!(shards, [], "after ten rounds");
    view.reach(revision).await?;
    assert_eq!(told(view.shards()), []);
    Ok(())
}
