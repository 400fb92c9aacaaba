//! The stop of containers: its order, its timeout, restart policies, and stops that hang.

use scuttle_schemas::operations::OperationState;
use scuttle_tests::cluster::docker_host::DockerHost;
use scuttle_tests::faults::engine_proxy::{EngineProxy, Fault};
use scuttle_tests::servers::dockerd::{
    ContainerEvent, Daemon, IGNORES_SIGTERM, MANAGED, STOPS_ON_SIGTERM,
};
use scuttle_tests::{TestResult, wait_until};
use serde_json::json;

use crate::teardown::shard_error;

/// The exit code of a container that was killed.
const KILLED: u8 = 137;

/// The command of a container that needs two seconds to exit on SIGTERM.
const STOPS_SLOWLY: [&str; 3] = [
    "sh",
    "-c",
    "trap 'sleep 2; exit 7' TERM; sleep 1000 & wait; wait",
];

/// A project with a service that depends on another one, and with an independent service. Each
/// service needs a second to stop.
const DEPENDENT: &str = "
x-service: &service
  image: bait
  command: [sh, -c, \"trap 'sleep 1; exit 0' TERM; sleep 1000 & wait; wait\"]
  labels: { scuttle.managed: 'true' }
  network_mode: none
services:
  database: { <<: *service, container_name: database }
  shop: { <<: *service, container_name: shop, depends_on: [database] }
  cache: { <<: *service, container_name: cache }
";

/// Every call that stops or removes a container of one decky hangs. The other decky is removed at
/// once, the host stays readable, and only the hanging container is reported.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn a_stop_that_hangs_fails_only_its_own_decky() -> TestResult {
    let daemon = Daemon::start().await?;
    for name in ["stuck", "good"] {
        daemon.run(name, name, &MANAGED, &STOPS_ON_SIGTERM).await?;
    }
    let stuck = daemon.find_object("stuck").await?;
    let proxy = EngineProxy::start(&daemon.socket())?;
    proxy.inject(Fault::Held, move |call| {
        let ends = call.path.ends_with("/stop") || call.path.ends_with("/kill");
        call.names(&stuck) && (ends || call.method == "DELETE")
    });
    let flags = ["--grace-s", "1", "--heartbeat-ms", "300"];
    let stage = DockerHost::start_through(&proxy, daemon, &flags).await?;
    stage.wait_for_states("good running, stuck running").await?;
    let operator = &stage.cluster.operator;
    let accepted = operator.tear_down_within(15, stage.host(), None).await?;
    let id = accepted.operation_id;

    let containers = || stage.daemon.containers();
    wait_until("the other decky is gone", containers, |left| {
        left == "stuck"
    })
    .await?;
    let running = operator.operation(id).await?;
    assert!(running.finished_at.is_none(), "{running:?}");
    stage.wait_for_heartbeat().await?;
    let host = operator.host(stage.host()).await?;
    assert_eq!(host.inventory_error, None);

    // The agent's result may arrive shortly after the deadline.
    stage.wait_for_end(id).await?;
    let operation = || operator.operation(id);
    let failed = wait_until("the agent reports the container", operation, |operation| {
        operation.state == OperationState::Failed
    })
    .await?;
    let error = shard_error(&failed);
    assert!(
        error.contains("stuck") && !error.contains("good"),
        "{error}"
    );
    stage.wait_for_states("stuck teardown_failed").await
}

/// The shim of a container is frozen, so the Engine waits for it endlessly. Another decky is torn
/// down meanwhile.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn a_decky_is_torn_down_while_another_one_hangs() -> TestResult {
    let daemon = Daemon::start().await?;
    for name in ["stuck", "good"] {
        daemon.run(name, name, &MANAGED, &STOPS_ON_SIGTERM).await?;
    }
    daemon.freeze_shim("stuck").await?;
    let stage = DockerHost::start(daemon, &["--grace-s", "1"]).await?;
    stage.wait_for_states("good running, stuck running").await?;
    let hanging = stage.start_teardown("stuck").await?;
    let request = json!({ "decky_id": "good", "timeout_s": 60 });
    let operation = stage.tear_down_with(request).await?;
    assert_eq!(operation.state, OperationState::Succeeded, "{operation:?}");
    assert_eq!(stage.daemon.containers().await?, "stuck");
    let hanging = stage.cluster.operator.operation(hanging).await?;
    assert!(hanging.finished_at.is_none(), "{hanging:?}");
    Ok(())
}

/// After a failed teardown, dockerd is started again. The stopped container does not run again,
/// although its restart policy was `always`.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn a_stopped_container_does_not_return_when_dockerd_starts() -> TestResult {
    let daemon = Daemon::start().await?;
    daemon.create_network("trap", "trap_default", &[]).await?;
    let flags = ["--restart", "always", "--network", "trap_default"];
    let flags = [&MANAGED[..], &flags].concat();
    daemon.run("trap", "bait", &flags, &IGNORES_SIGTERM).await?;
    daemon.run_foreign("foreign", "trap_default").await?;
    // Dockerd starts this container together with the other one.
    daemon
        .run(
            "canary",
            "canary",
            &["--restart", "always"],
            &IGNORES_SIGTERM,
        )
        .await?;
    let mut stage = DockerHost::start(daemon, &["--grace-s", "1"]).await?;
    stage.wait_for_states("trap running").await?;
    let id = stage.start_teardown("trap").await?;
    let operation = stage.wait_for_end(id).await?;
    assert_eq!(operation.state, OperationState::Failed, "{operation:?}");
    stage.daemon.stop().await?;
    stage.daemon.resume().await?;
    let running = || stage.daemon.running_containers();
    let running = wait_until("dockerd has started containers", running, |running| {
        running.contains("canary")
    })
    .await?;
    assert_eq!(running, "canary");
    Ok(())
}

/// The container's own timeout applies. `--grace-s` applies to a container without one.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn a_container_has_as_long_to_stop_as_it_asks_for() -> TestResult {
    let daemon = Daemon::start().await?;
    let patient = [&MANAGED[..], &["--stop-timeout", "40"]].concat();
    daemon.run("trap", "slow", &patient, &STOPS_SLOWLY).await?;
    daemon
        .run("trap", "impatient", &MANAGED, &STOPS_SLOWLY)
        .await?;
    let stage = DockerHost::start(daemon, &["--grace-s", "1"]).await?;
    stage.wait_for_states("trap running").await?;
    stage.tear_down("trap").await?;
    let events = stage.daemon.list_events().await?;
    assert_eq!(find_exit_code(&events, "slow"), Some(7));
    assert_eq!(find_exit_code(&events, "impatient"), Some(KILLED));
    Ok(())
}

/// Without the cap, the teardown would take more than a quarter of an hour.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn the_timeout_of_a_container_is_capped() -> TestResult {
    let daemon = Daemon::start().await?;
    let flags = [&MANAGED[..], &["--stop-timeout", "1000"]].concat();
    daemon.run("trap", "bait", &flags, &IGNORES_SIGTERM).await?;
    let stage = DockerHost::start(daemon, &["--max-grace-s", "1"]).await?;
    stage.wait_for_states("trap running").await?;
    stage.tear_down("trap").await?;
    let events = stage.daemon.list_events().await?;
    assert_eq!(find_exit_code(&events, "bait"), Some(KILLED));
    Ok(())
}

/// A service is stopped after the services that depend on it. Independent services are stopped at
/// the same time.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn dependents_are_stopped_first() -> TestResult {
    let daemon = Daemon::start().await?;
    daemon
        .compose("trap", DEPENDENT, &["up", "--detach"])
        .await?;
    let stage = DockerHost::start(daemon, &[]).await?;
    stage.wait_for_states("trap running").await?;
    stage.tear_down("trap").await?;
    let events = stage.daemon.list_events().await?;
    let position = |action: &str, container: &str| {
        let is_event =
            |event: &ContainerEvent| event.action == action && event.container == container;
        let found = events.iter().position(is_event);
        found.unwrap_or_else(|| panic!("no {action} of {container}: {events:?}"))
    };
    assert!(
        position("die", "shop") < position("kill", "database"),
        "{events:?}"
    );
    assert!(
        position("kill", "cache") < position("die", "shop"),
        "{events:?}"
    );
    assert!(
        position("kill", "shop") < position("die", "cache"),
        "{events:?}"
    );
    Ok(())
}

fn find_exit_code(events: &[ContainerEvent], container: &str) -> Option<u8> {
    let is_end = |event: &&ContainerEvent| event.action == "die" && event.container == container;
    events.iter().find(is_end)?.exit_code
}
