//! Networks, volumes and images after a teardown: what is removed, what is kept, and what the
//! Engine refuses to remove or removes slowly.

use std::time::{Duration, Instant};

use anyhow::ensure;
use scuttle_schemas::OperationId;
use scuttle_schemas::operations::OperationState;
use scuttle_tests::TestResult;
use scuttle_tests::cluster::docker_host::DockerHost;
use scuttle_tests::faults::engine_proxy::{EngineProxy, Fault, Object};
use scuttle_tests::servers::dockerd::{Daemon, IGNORES_SIGTERM, MANAGED, STOPS_ON_SIGTERM};

use crate::teardown::shard_error;

/// A project with a volume that Compose creates, and with a volume that existed before.
const VOLUMES: &str = "
services:
  bait:
    image: bait
    command: [sleep, '1000']
    labels: { scuttle.managed: 'true' }
    network_mode: none
    volumes: [ 'lures:/lures', 'loot:/loot' ]
volumes:
  lures: {}
  loot: { external: true }
";

/// A project whose containers use two names of the same image.
const TWO_TAGS: &str = "
x-service: &service
  command: [sleep, '1000']
  labels: { scuttle.managed: 'true' }
  network_mode: none
services:
  one: { <<: *service, image: 'lure:1' }
  two: { <<: *service, image: 'lure:2' }
";

/// The time for which a removal stays in progress. The agent must wait longer than it would retry
/// a removal that the Engine rejects for another reason.
const SLOW_REMOVAL: Duration = Duration::from_secs(12);
/// The time for which the first response to a removal does not arrive.
const HANGING_REMOVAL: Duration = Duration::from_secs(65);

#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn an_external_volume_is_never_removed() -> TestResult {
    let daemon = Daemon::start().await?;
    daemon.docker(&["volume", "create", "loot"]).await?;
    daemon.compose("trap", VOLUMES, &["up", "--detach"]).await?;
    let flags = ["--remove-volumes", "--grace-s", "1"];
    let stage = DockerHost::start(daemon, &flags).await?;
    stage.wait_for_states("trap running").await?;
    stage.tear_down("trap").await?;
    assert_eq!(stage.daemon.containers().await?, "");
    assert_eq!(stage.daemon.volumes().await?, "loot");
    Ok(())
}

/// Starts the project [`TWO_TAGS`] and removes it together with its images.
async fn tear_down_two_tags(more_tags: &[&str]) -> anyhow::Result<DockerHost> {
    let daemon = Daemon::start().await?;
    daemon.import_copy("lure:1").await?;
    for tag in [&["lure:2"], more_tags].concat() {
        daemon.docker(&["tag", "lure:1", tag]).await?;
    }
    daemon
        .compose("trap", TWO_TAGS, &["up", "--detach"])
        .await?;
    let flags = ["--remove-images", "--grace-s", "1"];
    let stage = DockerHost::start(daemon, &flags).await?;
    stage.wait_for_states("trap running").await?;
    stage.tear_down("trap").await?;
    Ok(stage)
}

#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn an_image_is_removed_with_all_names_that_the_decky_used() -> TestResult {
    let stage = tear_down_two_tags(&[]).await?;
    assert_eq!(stage.daemon.images().await?, "bait:latest");
    Ok(())
}

/// The image has a name that no container of the decky used. The image keeps this name only, and
/// the host's notes report it.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn an_image_with_a_foreign_name_stays_and_is_noted() -> TestResult {
    let stage = tear_down_two_tags(&["keep:1"]).await?;
    assert_eq!(stage.daemon.images().await?, "bait:latest keep:1");
    stage.wait_for_note("keep:1").await
}

/// Starts a decky with a network that the Engine refuses to remove, although the network has no
/// endpoints.
async fn start_with_held_network() -> anyhow::Result<(EngineProxy, DockerHost)> {
    let daemon = Daemon::start().await?;
    daemon.create_network("trap", "trap_default", &[]).await?;
    let network = daemon.find_object("trap_default").await?;
    let flags = [&MANAGED[..], &["--network", "trap_default"]].concat();
    daemon
        .run("trap", "bait", &flags, &STOPS_ON_SIGTERM)
        .await?;
    let proxy = EngineProxy::start(&daemon.socket())?;
    let message = format!(
        "error while removing network: network trap_default id {} has active endpoints",
        network.id
    );
    proxy.inject(Fault::Rejected(403, message), move |call| {
        call.is("DELETE", &network)
    });
    let flags = ["--heartbeat-ms", "300"];
    let stage = DockerHost::start_through(&proxy, daemon, &flags).await?;
    stage.wait_for_states("trap running").await?;
    Ok((proxy, stage))
}

/// The failure stays on record until the network is gone, whether or not a container of the decky
/// is left, and also after the agent was started again.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn a_network_that_cannot_be_removed_stays_on_record() -> TestResult {
    let (proxy, mut stage) = start_with_held_network().await?;
    let id = stage.start_teardown("trap").await?;
    let operation = stage.wait_for_end(id).await?;
    let error = shard_error(&operation);
    let expected = "network trap_default has active endpoints, but the Engine lists none; \
        if no Swarm service uses the network, restart the Docker Engine";
    assert_eq!(error, expected);
    for _ in 0..3 {
        stage.wait_for_heartbeat().await?;
        stage.wait_for_states("trap teardown_failed").await?;
    }
    stage.restart_agent().await?;
    stage.wait_for_heartbeat().await?;
    stage.wait_for_states("trap teardown_failed").await?;

    proxy.remove_faults();
    stage.tear_down("trap").await?;
    stage.check_all_removed().await
}

/// The agent is killed after the Engine has refused to remove the network. The started teardown
/// removes the network later.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn a_teardown_of_a_held_network_continues_after_a_kill() -> TestResult {
    let (proxy, mut stage) = start_with_held_network().await?;
    let network = stage.daemon.find_object("trap_default").await?;
    let id = stage.start_teardown("trap").await?;
    proxy
        .wait_for_call(|call| call.is("DELETE", &network))
        .await?;
    stage.agent.kill().await?;
    proxy.remove_faults();
    stage.restart_agent().await?;
    stage.wait_for_success(id).await?;
    stage.check_all_removed().await
}

/// A Swarm service uses the network. The Engine lists no endpoint of the service.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn a_network_of_a_swarm_service_stays_on_record() -> TestResult {
    let daemon = Daemon::start().await?;
    let init = ["swarm", "init", "--advertise-addr", "127.0.0.1"];
    daemon.docker(&init).await?;
    let overlay = ["--driver", "overlay", "--attachable"];
    let flags = [&MANAGED[..], &overlay].concat();
    daemon.create_network("trap", "trap_mesh", &flags).await?;
    let service = ["--detach", "--network", "trap_mesh", "--name", "holder"];
    let create = [&["service", "create"], &service[..], &["--replicas", "0"]].concat();
    daemon
        .docker(&[&create[..], &["bait", "sleep", "1000"]].concat())
        .await?;
    daemon
        .run("trap", "bait", &MANAGED, &IGNORES_SIGTERM)
        .await?;
    let flags = ["--grace-s", "1", "--heartbeat-ms", "300"];
    let stage = DockerHost::start(daemon, &flags).await?;
    stage.wait_for_states("trap running").await?;
    let id = stage.start_teardown("trap").await?;
    let operation = stage.wait_for_end(id).await?;
    let error = shard_error(&operation);
    assert!(error.contains("network trap_mesh"), "{error}");
    stage.wait_for_heartbeat().await?;
    stage.wait_for_heartbeat().await?;
    stage.wait_for_states("trap teardown_failed").await?;

    stage.daemon.docker(&["service", "rm", "holder"]).await?;
    stage.tear_down("trap").await?;
    stage.wait_for_states("").await?;
    assert!(!stage.daemon.networks().await?.contains("trap_mesh"));
    Ok(())
}

/// Starts a decky with one container, behind a proxy that holds back requests to remove the
/// container.
async fn start_with_held_removal() -> anyhow::Result<(EngineProxy, DockerHost, Object)> {
    let daemon = Daemon::start().await?;
    daemon
        .run("trap", "slow", &MANAGED, &STOPS_ON_SIGTERM)
        .await?;
    let slow = daemon.find_object("slow").await?;
    let proxy = EngineProxy::start(&daemon.socket())?;
    let stage = DockerHost::start_through(&proxy, daemon, &[]).await?;
    stage.wait_for_states("trap running").await?;

    let removed = slow.clone();
    proxy.inject(Fault::Held, move |call| call.is("DELETE", &removed));
    Ok((proxy, stage, slow))
}

/// Another client removes the container of the decky, which takes long. The Engine answers the
/// agent's own removal with "already in progress".
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn a_removal_in_progress_is_waited_for() -> TestResult {
    let (proxy, stage, slow) = start_with_held_removal().await?;
    let host = proxy.host();
    let removal = ["--host", &host, "rm", "--force", "slow"];
    let other_client = stage.daemon.docker(&removal);
    let teardown = async {
        proxy.wait_for_call(|call| call.is("DELETE", &slow)).await?;
        reject_further_removals(&proxy, slow);
        let id = stage.start_teardown("trap").await?;
        check_running_for(&stage, id, SLOW_REMOVAL).await?;
        proxy.remove_faults();
        stage.wait_for_success(id).await
    };
    tokio::try_join!(other_client, teardown)?;
    stage.wait_for_states("").await?;
    assert_eq!(stage.daemon.containers().await?, "");
    Ok(())
}

/// The first response to the agent's own removal does not arrive within a minute, and the Engine
/// answers further ones with "already in progress".
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn a_removal_that_takes_longer_than_a_minute_succeeds() -> TestResult {
    let (proxy, stage, slow) = start_with_held_removal().await?;
    let id = stage.start_teardown("trap").await?;
    proxy.wait_for_call(|call| call.is("DELETE", &slow)).await?;
    reject_further_removals(&proxy, slow);
    check_running_for(&stage, id, HANGING_REMOVAL).await?;
    proxy.remove_faults();
    stage.wait_for_success(id).await?;
    stage.wait_for_states("").await?;
    assert_eq!(stage.daemon.containers().await?, "");
    Ok(())
}

/// Rejects the removal of a container as the Engine does while it already removes the container.
fn reject_further_removals(proxy: &EngineProxy, container: Object) {
    let message = format!(
        "removal of container {} is already in progress",
        container.id
    );
    proxy.inject(Fault::Rejected(409, message), move |call| {
        call.is("DELETE", &container)
    });
}

/// Checks for this time that the agent keeps working on the operation.
async fn check_running_for(stage: &DockerHost, id: OperationId, time: Duration) -> TestResult {
    let start = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    while start.elapsed() < time {
        ticks.tick().await;
        let operation = stage.cluster.operator.operation(id).await?;
        let after = start.elapsed();
        ensure!(
            operation.state == OperationState::Running,
            "after {after:?}: {operation:?}"
        );
    }
    Ok(())
}
