//! Teardowns of containers, networks and projects that are hard to remove.

use futures_util::{StreamExt, TryStreamExt, stream};
use scuttle_schemas::agents::{ProgressStep, TeardownProgress};
use scuttle_schemas::operations::{OperationRecord, OperationState};
use scuttle_schemas::subjects::AgentChannel;
use scuttle_tests::cluster::docker_host::DockerHost;
use scuttle_tests::servers::dockerd::{Daemon, IGNORES_SIGTERM, IMAGE, MANAGED, STOPS_ON_SIGTERM};
use scuttle_tests::wait::with_timeout;
use scuttle_tests::{Client, Role, TestResult};

/// Returns the errors of the failed shards, separated by `; `. Panics unless the operation has
/// failed.
pub(crate) fn shard_error(operation: &OperationRecord) -> String {
    assert_eq!(operation.state, OperationState::Failed, "{operation:?}");
    let errors = operation
        .shards
        .iter()
        .flatten()
        .filter_map(|shard| shard.error.as_ref());
    errors
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

/// The containers ignore SIGTERM, are restarted by a policy, restart in a loop, are paused, or were
/// never started. All of them stay removed. A container that belongs to no decky is not touched.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn containers_that_are_hard_to_stop_are_removed() -> TestResult {
    let daemon = Daemon::start().await?;
    let with = |more: &[&'static str]| [&MANAGED[..], more].concat();
    daemon
        .run("trap", "deaf", &with(&[]), &IGNORES_SIGTERM)
        .await?;
    daemon
        .run(
            "trap",
            "always",
            &with(&["--restart", "always"]),
            &IGNORES_SIGTERM,
        )
        .await?;
    daemon
        .run(
            "trap",
            "looping",
            &with(&["--restart", "always"]),
            &["true"],
        )
        .await?;
    daemon
        .run("trap", "paused", &with(&[]), &IGNORES_SIGTERM)
        .await?;
    daemon.docker(&["pause", "paused"]).await?;
    let label = "com.docker.compose.project=trap";
    daemon
        .docker(&[
            "create", "--name", "created", "--label", label, IMAGE, "true",
        ])
        .await?;
    daemon
        .docker(&[
            "run",
            "--detach",
            "--network",
            "none",
            "--name",
            "foreign",
            IMAGE,
            "sleep",
            "1000",
        ])
        .await?;
    let stage = DockerHost::start(daemon, &["--grace-s", "1"]).await?;
    stage.wait_for_states("trap degraded").await?;
    stage.tear_down("trap").await?;
    stage.wait_for_states("").await?;
    assert_eq!(stage.daemon.containers().await?, "foreign");
    let inspect = ["inspect", "--format", "{{.State.Running}}", "foreign"];
    assert_eq!(stage.daemon.docker(&inspect).await?.trim(), "true");
    Ok(())
}

/// Another Docker client removes the container during the teardown.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn a_container_that_disappears_during_a_teardown_counts_as_removed() -> TestResult {
    let daemon = Daemon::start().await?;
    for name in ["one", "two", "three"] {
        daemon.run("trap", name, &MANAGED, &IGNORES_SIGTERM).await?;
    }
    let stage = DockerHost::start(daemon, &["--grace-s", "4", "--parallel", "2"]).await?;
    stage.wait_for_states("trap running").await?;
    let id = stage.start_teardown("trap").await?;
    stage
        .daemon
        .docker(&["rm", "--force", "one", "three"])
        .await?;
    stage.wait_for_success(id).await?;
    assert_eq!(stage.daemon.containers().await?, "");
    Ok(())
}

/// A container that belongs to no decky is attached to the network of the decky. The decky's error
/// names the network and the container.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn a_network_with_a_foreign_container_stays() -> TestResult {
    let daemon = Daemon::start().await?;
    daemon.create_network("trap", "trap_default", &[]).await?;
    let flags = [&MANAGED[..], &["--network", "trap_default"]].concat();
    daemon
        .run("trap", "bait", &flags, &STOPS_ON_SIGTERM)
        .await?;
    daemon.run_foreign("foreign", "trap_default").await?;
    let stage = DockerHost::start(daemon, &[]).await?;
    stage.wait_for_states("trap running").await?;
    let id = stage.start_teardown("trap").await?;
    let operation = stage.wait_for_end(id).await?;
    assert_eq!(
        shard_error(&operation),
        "network trap_default has active endpoints (foreign)"
    );
    assert_eq!(stage.daemon.containers().await?, "foreign");
    assert_eq!(stage.daemon.networks().await?, "trap_default");
    // The failure stays in the record. When no container uses the network any longer, the decky can
    // be torn down again.
    stage.wait_for_states("trap teardown_failed").await?;
    stage.daemon.docker(&["rm", "--force", "foreign"]).await?;
    stage.tear_down("trap").await?;
    stage.check_all_removed().await
}

/// Containers of the decky that were deployed during the teardown are kept, and the error names
/// them.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn a_redeployment_during_a_teardown_is_left_alone_and_named() -> TestResult {
    let daemon = Daemon::start().await?;
    daemon
        .run("trap", "old", &MANAGED, &IGNORES_SIGTERM)
        .await?;
    let stage = DockerHost::start(daemon, &["--grace-s", "4"]).await?;
    stage.wait_for_states("trap running").await?;
    let id = stage.start_teardown("trap").await?;
    stage
        .daemon
        .run("trap", "new", &MANAGED, &STOPS_ON_SIGTERM)
        .await?;
    let operation = stage.wait_for_end(id).await?;
    assert_eq!(
        shard_error(&operation),
        "deployed again during the teardown: container new"
    );
    assert_eq!(stage.daemon.containers().await?, "new");
    stage.wait_for_states("trap running").await?;
    stage.tear_down("trap").await?;
    assert_eq!(stage.daemon.containers().await?, "");
    Ok(())
}

/// The host has ten projects, each with ten containers and a network. The agent reports the
/// progress of each step.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn a_hundred_containers_are_removed_by_one_command() -> TestResult {
    let daemon = Daemon::start().await?;
    for project in 0..10 {
        let label = format!("com.docker.compose.project=trap-{project}");
        let network = format!("trap-{project}_default");
        daemon
            .docker(&[
                "network",
                "create",
                "--internal",
                "--label",
                &label,
                &network,
            ])
            .await?;
    }
    let run = async |number: usize| {
        let (project, name) = (format!("trap-{}", number / 10), format!("bait-{number}"));
        // Each network has one endpoint. If several endpoints of a network are released at the same
        // time, the Engine can lose count of them, and then never removes the network.
        let network = format!("{project}_default");
        let network = if number.is_multiple_of(10) {
            &network
        } else {
            "none"
        };
        let flags = [&MANAGED[..], &["--network", network]].concat();
        daemon.run(&project, &name, &flags, &STOPS_ON_SIGTERM).await
    };
    let runs = stream::iter(0..100).map(run).buffer_unordered(4);
    runs.try_collect::<()>().await?;
    let stage = DockerHost::start(daemon, &[]).await?;
    let states: Vec<_> = (0..10).map(|n| format!("trap-{n} running")).collect();
    stage.wait_for_states(&states.join(", ")).await?;
    let controller = Client::connect(&stage.cluster.servers[0], Role::Controller).await?;
    let progress = AgentChannel::Progress.subject(stage.host());
    let mut progress = controller.nats().subscribe(progress).await?;
    controller.nats().flush().await?;

    let operation = stage.tear_down(None).await?;
    let mut steps = Vec::new();
    while steps.last() != Some(&ProgressStep::Verifying) {
        let message = with_timeout("progress", progress.next()).await?;
        let message = message.expect("the connection is open");
        let update: TeardownProgress = serde_json::from_slice(&message.payload)?;
        assert!(
            update.done <= update.total && update.total <= Some(10),
            "{update:?}"
        );
        steps.push(update.step);
        steps.dedup();
    }
    let expected = [
        ProgressStep::Started,
        ProgressStep::Stopping,
        ProgressStep::Removing,
        ProgressStep::Verifying,
    ];
    assert_eq!(steps, expected);
    assert_eq!((operation.counts.removed, operation.counts.failed), (10, 0));
    assert_eq!(stage.daemon.containers().await?, "");
    assert_eq!(stage.daemon.networks().await?, "");
    Ok(())
}
