//! NATS servers with a small `max_payload`: all messages fit, or the programs refuse to start.

use scuttle_schemas::MIN_MAX_PAYLOAD;
use scuttle_schemas::hosts::HostStatus;
use scuttle_schemas::operations::OperationState;
use scuttle_tests::programs::process::Process;
use scuttle_tests::programs::program_command;
use scuttle_tests::programs::scuttle::run_scuttle;
use scuttle_tests::{Cluster, Controller, Nats, Role, TestResult, wait_until};

const DECKIES: usize = 600;

fn limit_payload(conf: &str, limit: &str) -> String {
    let changed = conf.replace("max_payload: 1MB", &format!("max_payload: {limit}"));
    assert_ne!(changed, conf, "nats.conf has the limit");
    changed
}

/// Lists and tears down a host whose inventory, listing and result are each larger than a message.
async fn check_large_host(cluster: &Cluster) -> TestResult {
    let deckies = format!("--deckies-per-host={DECKIES}");
    let arguments = ["--hosts=1", &deckies, "--enroll", "--heartbeat-ms=1000"];
    let dir = cluster.path("sim");
    let _simulator = cluster.start_simulator(&dir, &arguments).await?;
    let shards = wait_until(
        "all shards are listed",
        || cluster.operator.list_shards(),
        |shards| shards.len() == DECKIES,
    )
    .await?;
    let host = shards[0].host_uuid.clone();
    assert_eq!(
        cluster.operator.host(&host).await?.status,
        HostStatus::Online
    );
    let accepted = cluster.operator.tear_down(&host, None).await?;
    let ended = cluster.operator.wait_for_end(accepted.operation_id).await?;
    assert_eq!(ended.state, OperationState::Succeeded, "{ended:?}");
    assert_eq!(ended.counts.removed + ended.counts.absent, DECKIES);
    assert!(!ended.shards.expect("the shards").is_empty());
    assert_eq!(cluster.operator.list_shards().await?, []);
    Ok(())
}

#[tokio::test]
async fn pages_inventories_and_results_fit_the_payload_of_the_server() -> TestResult {
    let mut cluster = Cluster::builder()
        .nats_conf(|conf| limit_payload(conf, "64KB"))
        .start()
        .await?;
    check_large_host(&cluster).await?;
    let log = cluster.controllers[0].process().log();
    assert!(!log.contains("ERROR"), "{log}");
    Ok(())
}

#[tokio::test]
async fn journals_of_partitions_fit_the_payload_of_the_server() -> TestResult {
    let cluster = Cluster::builder()
        .nats_conf(|conf| limit_payload(conf, "64KB"))
        .partitions(2)
        .start()
        .await?;
    check_large_host(&cluster).await
}

#[tokio::test]
async fn a_payload_that_is_too_small_is_refused_with_the_number_to_set() -> TestResult {
    let nats = Nats::start_with(|conf| limit_payload(conf, "16KB")).await?;
    let dir = tempfile::tempdir()?;
    let mut controller = Controller::command();
    controller
        .args(["--nats-url", &nats.url(), "--data-dir"])
        .arg(dir.path().join("controller"))
        .envs(nats.environment(Role::Controller));
    let mut simulator = program_command("scuttle-agent-sim");
    simulator
        .args(["--nats-url", &nats.url(), "--hosts=1", "--data-dir"])
        .arg(dir.path().join("sim"))
        .envs(nats.environment(Role::Agents));
    for (name, command) in [("the controller", controller), ("the agents", simulator)] {
        let log = dir.path().join(name);
        let mut process = Process::spawn(name, command, &log)?;
        assert!(!process.wait_for_exit().await?.success());
        let log = process.log();
        assert!(log.contains("set `max_payload: 1MB`"), "{name}: {log}");
        assert!(log.contains(&MIN_MAX_PAYLOAD.to_string()), "{name}: {log}");
    }
    let arguments = ["doctor", "--nats-url", &nats.url()];
    let environment = nats.environment(Role::Operator);
    let environment: Vec<_> = (environment.iter().map(|(name, value)| (*name, &**value)))
        .chain([("SCUTTLE_BUS_DIR", "")])
        .collect();
    let doctor = run_scuttle(dir.path(), &arguments, &environment).await?;
    assert!(doctor.stdout.contains("16384 bytes"), "{doctor:?}");
    assert!(doctor.stdout.contains("max_payload: 1MB"), "{doctor:?}");
    Ok(())
}
