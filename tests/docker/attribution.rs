//! The containers and networks that belong to a decky: projects that have lost their label, names
//! that are not valid for a decky, and objects that cannot be attributed.

use scuttle_schemas::operations::OperationState;
use scuttle_tests::cluster::docker_host::DockerHost;
use scuttle_tests::faults::engine_proxy::{EngineProxy, Fault};
use scuttle_tests::servers::dockerd::{Daemon, IGNORES_SIGTERM, MANAGED, STOPS_ON_SIGTERM};
use scuttle_tests::{TestResult, wait_until};

use crate::teardown::shard_error;

/// The flags of an agent that reports often, so that a test can wait for the next report.
const FREQUENT: [&str; 2] = ["--heartbeat-ms", "300"];

/// Starts the project `trap` with the containers `labelled` and `plain`, and a network. Only
/// `labelled` has the label that marks a decky.
async fn start_half_labelled() -> anyhow::Result<Daemon> {
    let daemon = Daemon::start().await?;
    daemon.create_network("trap", "trap_default", &[]).await?;
    daemon
        .run("trap", "labelled", &MANAGED, &STOPS_ON_SIGTERM)
        .await?;
    let network = ["--network", "trap_default"];
    daemon
        .run("trap", "plain", &network, &STOPS_ON_SIGTERM)
        .await?;
    Ok(daemon)
}

#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn a_project_stays_a_decky_without_its_labelled_container() -> TestResult {
    let stage = DockerHost::start(start_half_labelled().await?, &FREQUENT).await?;
    stage.wait_for_states("trap running").await?;
    stage.daemon.docker(&["rm", "--force", "labelled"]).await?;
    stage.wait_for_heartbeat().await?;
    stage.wait_for_heartbeat().await?;
    stage.tear_down("trap").await?;
    stage.check_all_removed().await
}

/// The agent remembers its deckies across a restart. The teardown of the whole host removes the
/// rest of the project too.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn a_restarted_agent_remembers_a_project_without_its_label() -> TestResult {
    let mut stage = DockerHost::start(start_half_labelled().await?, &FREQUENT).await?;
    stage.wait_for_states("trap running").await?;
    stage.agent.kill().await?;
    stage.daemon.docker(&["rm", "--force", "labelled"]).await?;
    stage.restart_agent().await?;
    stage.wait_for_heartbeat().await?;
    stage.tear_down(None).await?;
    stage.check_all_removed().await
}

/// The labelled container is gone when the teardown starts, and the agent is killed while the other
/// container is being removed.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn a_teardown_without_the_labelled_container_continues_after_a_kill() -> TestResult {
    let daemon = start_half_labelled().await?;
    let plain = daemon.find_object("plain").await?;
    let proxy = EngineProxy::start(&daemon.socket())?;
    let mut stage = DockerHost::start_through(&proxy, daemon, &FREQUENT).await?;
    stage.wait_for_states("trap running").await?;
    stage.daemon.docker(&["rm", "--force", "labelled"]).await?;
    stage.wait_for_heartbeat().await?;
    let removed = plain.clone();
    proxy.inject(Fault::Held, move |call| call.is("DELETE", &removed));
    let id = stage.start_teardown("trap").await?;
    proxy
        .wait_for_call(|call| call.is("DELETE", &plain))
        .await?;
    stage.agent.kill().await?;
    proxy.remove_faults();
    stage.restart_agent().await?;
    stage.wait_for_success(id).await?;
    stage.check_all_removed().await
}

/// Only the network of the project has the label.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn the_label_of_a_network_makes_its_project_a_decky() -> TestResult {
    let daemon = Daemon::start().await?;
    daemon
        .create_network("trap", "trap_default", &MANAGED)
        .await?;
    daemon.run("trap", "plain", &[], &STOPS_ON_SIGTERM).await?;
    let stage = DockerHost::start(daemon, &[]).await?;
    stage.wait_for_states("trap running").await?;
    stage.tear_down("trap").await?;
    stage.check_all_removed().await
}

/// A network is all that is left of the decky. It is listed, and can be torn down.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn a_labelled_network_without_containers_is_a_decky() -> TestResult {
    let daemon = Daemon::start().await?;
    daemon
        .create_network("trap", "trap_default", &MANAGED)
        .await?;
    let stage = DockerHost::start(daemon, &[]).await?;
    stage.wait_for_states("trap failed").await?;
    stage.tear_down("trap").await?;
    stage.check_all_removed().await
}

/// The agent's data and the label are lost. A project with the name of the decky still exists, but
/// the agent cannot know whether it belongs to the decky.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn containers_that_cannot_be_attributed_are_named_and_never_absent() -> TestResult {
    let mut stage = DockerHost::start(start_half_labelled().await?, &FREQUENT).await?;
    stage.wait_for_states("trap running").await?;
    stage.agent.kill().await?;
    stage.daemon.docker(&["rm", "--force", "labelled"]).await?;
    std::fs::remove_dir_all(&stage.plan.data_dir)?;
    stage.restart_agent().await?;
    stage.wait_for_heartbeat().await?;
    let id = stage.start_teardown("trap").await?;
    let operation = stage.wait_for_end(id).await?;
    assert_eq!(operation.state, OperationState::Failed, "{operation:?}");
    let error = shard_error(&operation);
    assert!(error.contains("plain"), "{error}");
    stage.wait_for_note("trap").await?;
    stage.wait_for_states("trap teardown_failed").await?;
    assert_eq!(stage.daemon.running_containers().await?, "plain");
    Ok(())
}

/// The names of the projects are too long, or start with a character that a decky's name may not
/// start with. Two names differ only after the longest valid name.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn projects_with_invalid_names_are_listed_and_torn_down() -> TestResult {
    let daemon = Daemon::start().await?;
    let long = "a".repeat(70);
    let similar = format!("{}b", "a".repeat(69));
    for (project, name) in [("_odd", "odd"), (&long, "long"), (&similar, "similar")] {
        daemon
            .run(project, name, &MANAGED, &STOPS_ON_SIGTERM)
            .await?;
    }
    let stage = DockerHost::start(daemon, &[]).await?;
    let list = || stage.cluster.operator.list_shards();
    let shards = wait_until("all projects are listed", list, |shards| shards.len() == 3).await?;
    stage.tear_down(shards[0].decky_id.as_str()).await?;
    let left = stage.daemon.containers().await?;
    assert_eq!(left.split(' ').count(), 2, "{left}");
    stage.tear_down(None).await?;
    stage.check_all_removed().await
}

/// The decky's containers are all base containers: they have no services.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn a_decnet_base_container_without_services_keeps_its_whole_name() -> TestResult {
    let daemon = Daemon::start().await?;
    for name in ["mail-relay", "web-proxy"] {
        daemon.run("decnet", name, &[], &IGNORES_SIGTERM).await?;
    }
    let flags = ["--preset", "decnet", "--grace-s", "1"];
    let stage = DockerHost::start(daemon, &flags).await?;
    stage
        .wait_for_states("mail-relay running, web-proxy running")
        .await?;
    stage.tear_down("mail-relay").await?;
    stage.wait_for_states("web-proxy running").await?;
    assert_eq!(stage.daemon.containers().await?, "web-proxy");
    Ok(())
}

#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn a_label_names_the_decky_of_a_decnet_container() -> TestResult {
    let daemon = Daemon::start().await?;
    let label = ["--label", "scuttle.decky=relay-7"];
    for name in ["mail-relay", "smtp"] {
        daemon
            .run("decnet", name, &label, &STOPS_ON_SIGTERM)
            .await?;
    }
    let stage = DockerHost::start(daemon, &["--preset", "decnet"]).await?;
    stage.wait_for_states("relay-7 running").await?;
    stage.tear_down("relay-7").await?;
    stage.check_all_removed().await
}
