//! Removing what does not want to be removed.

use futures_util::{StreamExt, TryStreamExt, stream};
use scuttle_schemas::agents::{ProgressStep, TeardownProgress};
use scuttle_schemas::operations::{OperationRecord, OperationState};
use scuttle_schemas::subjects::AgentChannel;
use scuttle_tests::wait::with_timeout;
use scuttle_tests::{Client, Role, TestResult};

use crate::daemon::{Daemon, IMAGE, MANAGED, OBEDIENT, STUBBORN};
use crate::stage::Stage;

/// What the record says of the only shard that failed.
fn error(operation: &OperationRecord) -> String {
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

/// Deaf to SIGTERM, restarted by policy, restarting for ever, paused, never started: all go, and none comes back. A container of
/// nobody's is not touched.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn the_unwilling_go_too() -> TestResult {
    let daemon = Daemon::start().await?;
    let with = |more: &[&'static str]| [&MANAGED[..], more].concat();
    daemon.run("trap", "deaf", &with(&[]), &STUBBORN).await?;
    daemon
        .run("trap", "always", &with(&["--restart", "always"]), &STUBBORN)
        .await?;
    daemon
        .run(
            "trap",
            "looping",
            &with(&["--restart", "always"]),
            &["true"],
        )
        .await?;
    daemon.run("trap", "paused", &with(&[]), &STUBBORN).await?;
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
    let stage = Stage::on(daemon, &["--grace-s", "1"]).await?;
    stage.states("trap degraded").await?;
    stage.teardown("trap").await?;
    stage.states("").await?;
    assert_eq!(stage.daemon.containers().await?, "foreign");
    let look = ["inspect", "--format", "{{.State.Running}}", "foreign"];
    assert_eq!(stage.daemon.docker(&look).await?.trim(), "true");
    Ok(())
}

/// Somebody else removes a container while the agent is at it: what is gone is gone.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn a_container_that_vanishes_amid_it_is_a_success() -> TestResult {
    let daemon = Daemon::start().await?;
    for name in ["one", "two", "three"] {
        daemon.run("trap", name, &MANAGED, &STUBBORN).await?;
    }
    let stage = Stage::on(daemon, &["--grace-s", "4", "--parallel", "2"]).await?;
    stage.states("trap running").await?;
    let id = stage.begin("trap").await?;
    stage
        .daemon
        .docker(&["rm", "--force", "one", "three"])
        .await?;
    stage.succeeded(id).await?;
    assert_eq!(stage.daemon.containers().await?, "");
    Ok(())
}

/// A network in which somebody else's container is stays, and the decky's failure names both.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn a_foreign_endpoint_keeps_a_deckys_network() -> TestResult {
    let daemon = Daemon::start().await?;
    let label = "com.docker.compose.project=trap";
    daemon
        .docker(&["network", "create", "--label", label, "trap_default"])
        .await?;
    let flags = [&MANAGED[..], &["--network", "trap_default"]].concat();
    daemon.run("trap", "bait", &flags, &OBEDIENT).await?;
    daemon
        .docker(&[
            "run",
            "--detach",
            "--name",
            "foreign",
            "--network",
            "trap_default",
            IMAGE,
            "sleep",
            "1000",
        ])
        .await?;
    let stage = Stage::on(daemon, &[]).await?;
    stage.states("trap running").await?;
    let id = stage.begin("trap").await?;
    let operation = stage.ended(id).await?;
    assert_eq!(
        error(&operation),
        "left: container bait; network trap_default has active endpoints (foreign)"
    );
    assert_eq!(stage.daemon.containers().await?, "bait foreign");
    assert_eq!(stage.daemon.networks().await?, "trap_default");
    // Its failure stays on the record, and when nobody uses the network any more, it can be torn down again.
    stage.states("trap teardown_failed").await?;
    stage.daemon.docker(&["rm", "--force", "foreign"]).await?;
    stage.teardown("trap").await?;
    stage.states("").await?;
    assert_eq!(stage.daemon.containers().await?, "");
    assert_eq!(stage.daemon.networks().await?, "");
    Ok(())
}

/// A decky that is deployed again while it is torn down: what is new is left alone, and said to be there.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn a_redeployment_amid_it_is_left_alone_and_named() -> TestResult {
    let daemon = Daemon::start().await?;
    daemon.run("trap", "old", &MANAGED, &STUBBORN).await?;
    let stage = Stage::on(daemon, &["--grace-s", "4"]).await?;
    stage.states("trap running").await?;
    let id = stage.begin("trap").await?;
    stage.daemon.run("trap", "new", &MANAGED, &OBEDIENT).await?;
    let operation = stage.ended(id).await?;
    assert_eq!(
        error(&operation),
        "deployed again during the teardown: container new"
    );
    assert_eq!(stage.daemon.containers().await?, "new");
    stage.states("trap teardown_failed").await?;
    stage.teardown("trap").await?;
    assert_eq!(stage.daemon.containers().await?, "");
    Ok(())
}

/// A hundred containers in ten projects, each with a network: one command, whose progress is told step by step.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn a_hundred_containers_go_in_one_command() -> TestResult {
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
        // Every other one has an endpoint; all would take a small machine a minute.
        let network = format!("{project}_default");
        let network = if number.is_multiple_of(2) {
            &network
        } else {
            "none"
        };
        let flags = [&MANAGED[..], &["--network", network]].concat();
        daemon.run(&project, &name, &flags, &OBEDIENT).await
    };
    let runs = stream::iter(0..100).map(run).buffer_unordered(4);
    runs.try_collect::<()>().await?;
    let stage = Stage::on(daemon, &[]).await?;
    let states: Vec<_> = (0..10).map(|n| format!("trap-{n} running")).collect();
    stage.states(&states.join(", ")).await?;
    let controller = Client::connect(&stage.cluster.servers[0], Role::Controller).await?;
    let progress = AgentChannel::Progress.subject(stage.host());
    let mut progress = controller.nats().subscribe(progress).await?;
    controller.nats().flush().await?;

    let operation = stage.teardown(None).await?;
    let mut steps = Vec::new();
    while steps.last() != Some(&ProgressStep::Verifying) {
        let message = with_timeout("progress", progress.next()).await?;
        let message = message.expect("the connection is up");
        let told: TeardownProgress = serde_json::from_slice(&message.payload)?;
        assert!(
            told.done <= told.total && told.total <= Some(10),
            "{told:?}"
        );
        steps.push(told.step);
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
