//! The record follows the state of the containers when they die, start or return. While the Docker
//! Engine is unavailable, the agent reports an error instead of an inventory.

use std::time::{Duration, Instant};

use anyhow::ensure;
use scuttle_tests::cluster::docker_host::DockerHost;
use scuttle_tests::faults::engine_proxy::{Call, EngineProxy};
use scuttle_tests::servers::dockerd::{Daemon, IGNORES_SIGTERM, MANAGED};
use scuttle_tests::{TestResult, wait_until};

/// The maximum delay between an event of the Docker Engine and the change in the record. The
/// heartbeat interval is ten times as long, so a heartbeat alone would be too slow.
const MAX_EVENT_DELAY: Duration = Duration::from_secs(1);

/// The record also reflects a container that starts again, and a new decky.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn a_container_that_dies_makes_its_decky_degraded_within_a_second() -> TestResult {
    let daemon = Daemon::start().await?;
    daemon
        .run("trap", "one", &MANAGED, &IGNORES_SIGTERM)
        .await?;
    daemon
        .run("trap", "two", &MANAGED, &IGNORES_SIGTERM)
        .await?;
    let stage = DockerHost::start(daemon, &[]).await?;
    stage.wait_for_states("trap running").await?;
    // The fastest of several attempts counts, because the machine may be busy.
    let mut quickest = Duration::MAX;
    for _ in 0..5 {
        stage.daemon.docker(&["kill", "two"]).await?;
        let dead = Instant::now();
        stage.wait_for_states("trap degraded").await?;
        quickest = quickest.min(dead.elapsed());
        stage.daemon.docker(&["start", "two"]).await?;
        stage.wait_for_states("trap running").await?;
    }
    ensure!(quickest < MAX_EVENT_DELAY, "the quickest took {quickest:?}");
    stage.daemon.docker(&["kill", "one", "two"]).await?;
    stage
        .daemon
        .run("snare", "three", &MANAGED, &IGNORES_SIGTERM)
        .await?;
    stage.wait_for_states("snare running, trap degraded").await
}

/// The agent lists again only the containers that the events name. The rescan that happens once a
/// minute lists all of them.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn a_burst_of_300_events_causes_at_most_two_complete_listings() -> TestResult {
    let daemon = Daemon::start().await?;
    let proxy = EngineProxy::start(&daemon.socket())?;
    let names: Vec<_> = (0..25).map(|number| format!("bait-{number}")).collect();
    for name in &names {
        daemon.run("trap", name, &MANAGED, &IGNORES_SIGTERM).await?;
    }
    let stage = DockerHost::start_through(&proxy, daemon, &[]).await?;
    stage.wait_for_states("trap running").await?;
    let lists = proxy.count_calls(Call::lists_all_containers);
    let start = Instant::now();
    let command = |verb| {
        let names = names.iter().map(String::as_str);
        std::iter::once(verb).chain(names).collect::<Vec<_>>()
    };
    // Each round causes 75 events: kill, die and start of each container.
    for _ in 0..4 {
        stage.daemon.docker(&command("kill")).await?;
        stage.daemon.docker(&command("start")).await?;
    }
    stage.daemon.docker(&["kill", "bait-0"]).await?;
    stage.wait_for_states("trap degraded").await?;
    let lists = proxy.count_calls(Call::lists_all_containers) - lists;
    // On a slow machine, more rescans fall into the test.
    let rescans = start.elapsed().as_secs() as usize / 60 + 1;
    ensure!(lists <= rescans.max(2), "{lists} complete listings");
    Ok(())
}

/// While the Docker Engine hangs, the agent does not report the previous inventory as current.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn a_hanging_engine_is_reported_as_an_inventory_error() -> TestResult {
    let daemon = Daemon::start().await?;
    daemon
        .run("trap", "bait", &MANAGED, &IGNORES_SIGTERM)
        .await?;
    let mut stage = DockerHost::start(daemon, &["--heartbeat-ms", "300"]).await?;
    stage.wait_for_states("trap running").await?;
    stage.daemon.freeze().await?;
    stage
        .agent
        .wait_for_line("cannot read the inventory")
        .await?;
    stage.daemon.thaw().await?;
    stage.daemon.docker(&["kill", "bait"]).await?;
    stage.wait_for_states("trap degraded").await
}

/// While the Docker Engine is down, heartbeats contain the error instead of an inventory. When it
/// responds again, the agent reports what has changed since the outage began.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn an_unavailable_engine_is_not_reported_as_an_empty_host() -> TestResult {
    let daemon = Daemon::start().await?;
    daemon
        .run("trap", "bait", &MANAGED, &IGNORES_SIGTERM)
        .await?;
    let mut stage = DockerHost::start(daemon, &["--heartbeat-ms", "300"]).await?;
    stage.wait_for_states("trap running").await?;
    stage.daemon.stop().await?;
    stage
        .agent
        .wait_for_line("cannot read the inventory")
        .await?;
    let then = stage
        .cluster
        .operator
        .host(stage.host())
        .await?
        .last_heartbeat;
    let (operator, id) = (&stage.cluster.operator, stage.host().clone());
    let host = || operator.host(&id);
    wait_until("heartbeats continue", host, |host| {
        host.last_heartbeat > then
    })
    .await?;
    wait_until("the host's record says why", host, |host| {
        let why = host.inventory_error.as_ref();
        why.is_some_and(|why| why.as_str().contains("docker.sock"))
    })
    .await?;
    stage.wait_for_states("trap running").await?;
    let log = stage.agent.log();
    let update = log.matches("cannot read the inventory").count();
    ensure!(
        update <= 2 && log.contains("docker.sock"),
        "logged {update} times:\n{log}"
    );

    stage.daemon.resume().await?;
    stage.wait_for_states("trap degraded").await?;
    wait_until("the host has no inventory error", host, |host| {
        host.inventory_error.is_none()
    })
    .await?;
    Ok(())
}

/// A label that does not fit is left out, and the host's notes name it.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn the_labels_of_containers_are_labels_of_their_decky() -> TestResult {
    let daemon = Daemon::start().await?;
    let flags = |label| [&MANAGED[..], &["--label", label]].concat();
    let one = flags("scuttle.label.site=lab");
    daemon.run("trap", "one", &one, &IGNORES_SIGTERM).await?;
    let two = flags("scuttle.label.site=field");
    daemon.run("trap", "two", &two, &IGNORES_SIGTERM).await?;
    let three = flags("scuttle.label.rack=3");
    daemon
        .run("trap", "three", &three, &IGNORES_SIGTERM)
        .await?;
    let stage = DockerHost::start(daemon, &[]).await?;
    stage.wait_for_states("trap running").await?;
    let shard = stage.find_shard_json("trap").await?;
    assert_eq!(shard["labels"]["rack"], "3", "{shard}");
    let site = &shard["labels"]["site"];
    assert!(site == "lab" || site == "field", "{shard}");
    stage
        .wait_for_note("labels of decky trap are ignored")
        .await
}
