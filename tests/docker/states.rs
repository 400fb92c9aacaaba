//! The state that the agent reports for a decky: containers that were meant to exit, containers of
//! single commands, and containers whose description the agent cannot read.

use scuttle_tests::TestResult;
use scuttle_tests::cluster::docker_host::DockerHost;
use scuttle_tests::faults::engine_proxy::{Call, EngineProxy, Fault};
use scuttle_tests::servers::dockerd::{Daemon, MANAGED, STOPS_ON_SIGTERM};
use serde_json::{Value, json};

/// A project with a service that exits before the other service starts.
const ONE_SHOT: &str = "
services:
  setup:
    image: bait
    container_name: setup
    command: ['true']
    network_mode: none
  web:
    image: bait
    container_name: web
    command: [sh, -c, \"trap 'exit 0' TERM; sleep 1000 & wait\"]
    labels: { scuttle.managed: 'true' }
    network_mode: none
    depends_on: { setup: { condition: service_completed_successfully } }
";

/// A container of `docker compose run` is left over too. It has failed, which does not matter. Both
/// are removed with the decky.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn a_completed_service_and_a_single_command_do_not_degrade_a_decky() -> TestResult {
    let daemon = Daemon::start().await?;
    daemon
        .compose("trap", ONE_SHOT, &["up", "--detach"])
        .await?;
    let run = ["run", "--detach", "--no-deps", "--name", "single", "web"];
    daemon
        .compose(
            "trap",
            ONE_SHOT,
            &[&run[..], &["sh", "-c", "exit 3"]].concat(),
        )
        .await?;
    daemon.docker(&["wait", "setup", "single"]).await?;
    assert_eq!(daemon.containers().await?, "setup single web");
    let stage = DockerHost::start(daemon, &[]).await?;
    stage.wait_for_states("trap running").await?;
    stage.tear_down("trap").await?;
    stage.wait_for_states("").await?;
    assert_eq!(stage.daemon.containers().await?, "");
    Ok(())
}

/// The label `scuttle.oneshot=true` marks a service that is meant to exit, although no other
/// service waits for it. Its failure still degrades the decky.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn a_labelled_one_shot_service_may_exit_but_not_fail() -> TestResult {
    let daemon = Daemon::start().await?;
    let one_shot = ["--label", "scuttle.oneshot=true"];
    for (project, command) in [("trap", "exit 0"), ("snare", "exit 3")] {
        let run = async |name: &str, flags: &[&str], command: &[&str]| {
            let name = format!("{project}-{name}");
            daemon.run(project, &name, flags, command).await
        };
        run("bait", &MANAGED, &STOPS_ON_SIGTERM).await?;
        run("seed", &one_shot, &["sh", "-c", command]).await?;
    }
    daemon.docker(&["wait", "trap-seed", "snare-seed"]).await?;
    let stage = DockerHost::start(daemon, &[]).await?;
    stage.wait_for_states("snare degraded, trap running").await
}

/// Adds two containers to a listing: one in a state that only Podman has, and one that cannot be
/// read at all.
fn add_unreadable_containers(listing: &mut Value) {
    let Some(containers) = listing.as_array_mut() else {
        return;
    };
    let labels = json!({ "com.docker.compose.project": "pod" });
    let id = "b".repeat(64);
    containers.push(json!({
        "Id": id, "Names": ["/podman"], "State": "stopped", "Status": "Exited (0)", "Labels": labels,
    }));
    let id = "c".repeat(64);
    containers.push(json!({ "Id": id, "Names": ["/broken"], "State": 7, "Labels": labels }));
}

#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn a_container_that_cannot_be_read_hides_no_other_container() -> TestResult {
    let daemon = Daemon::start().await?;
    daemon
        .run("trap", "bait", &MANAGED, &STOPS_ON_SIGTERM)
        .await?;
    let proxy = EngineProxy::start(&daemon.socket())?;
    proxy.inject(
        Fault::Changed(add_unreadable_containers),
        Call::lists_containers,
    );
    let stage = DockerHost::start_through(&proxy, daemon, &[]).await?;
    stage.wait_for_states("trap running").await?;
    let host = stage.cluster.operator.host(stage.host()).await?;
    assert_eq!(host.inventory_error, None);
    stage.wait_for_note("broken").await?;
    stage.tear_down(None).await?;
    stage.wait_for_states("").await?;
    assert_eq!(stage.daemon.containers().await?, "");
    Ok(())
}
