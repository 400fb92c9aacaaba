//! The number of replicas: a difference from the configured number is reported, and one command
//! changes it while a controller runs.

use async_nats::jetstream::Context;
use scuttle_schemas::{PartitionCount, subjects};
use scuttle_tests::programs::scuttle::{CommandOutput, run_to_end};
use scuttle_tests::{Cluster, Controller, Nats, Role, TestResult, wait_until};

use super::lost_journal::{add_maintenance_user, connect_for_maintenance, run_doctor};

async fn set_replicas(
    cluster: &Cluster,
    login: [(&str, &str); 2],
) -> anyhow::Result<CommandOutput> {
    let mut command = Controller::command();
    command
        .args(["set-replicas", "--replicas", "3", "--nats-url"])
        .arg(cluster.url())
        .envs(login);
    run_to_end(command, &["set-replicas"]).await
}

/// Returns the number of replicas of each stream and bucket, and whether all replicas are current.
async fn count_replicas(context: &Context) -> anyhow::Result<Vec<(usize, bool)>> {
    let mut counts = Vec::new();
    for name in subjects::controller_stream_names(PartitionCount::ONE) {
        let Ok(stream) = context.get_stream(&name).await else {
            continue;
        };
        let info = stream.cached_info();
        let peers = info.cluster.iter().flat_map(|cluster| &cluster.replicas);
        let current = peers.filter(|peer| peer.current).count() + 1;
        counts.push((
            info.config.num_replicas,
            current == info.config.num_replicas,
        ));
    }
    Ok(counts)
}

#[tokio::test]
async fn another_number_of_replicas_is_reported_and_can_be_changed() -> TestResult {
    let builder = Cluster::builder().servers(3).controllers(1);
    let builder = builder.setting("SCUTTLE_REPLICAS", "1");
    let mut cluster = builder.nats_conf(add_maintenance_user).start().await?;
    let agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let accepted = cluster.operator.tear_down(&agent.host, "decky-1").await?;
    let maintenance = connect_for_maintenance(&cluster).await?;

    // The same controller with the number that three servers need.
    cluster.controllers[0].kill().await?;
    let mut environment = cluster.controller_environment();
    environment.push(("SCUTTLE_REPLICAS", "3".to_owned()));
    let data_dir = cluster.data_dir(0);
    cluster.controllers[0] = Controller::start(&cluster.url(), environment, &data_dir)?;
    let process = cluster.controllers[0].process();
    let line = process.wait_for_line("has 1 replicas").await?;
    assert!(line.contains("set-replicas"), "{line}");
    cluster.wait_for_leader().await?;
    let http = cluster.controllers[0].http().await?;
    http.wait_for_texts("/metrics", &["scuttle_replicas_differ 3"])
        .await?;
    let doctor = run_doctor(&cluster).await?;
    assert!(doctor.stdout.contains("has 1 replicas"), "{doctor:?}");
    assert_eq!(doctor.code, 1, "{doctor:?}");

    let controller = cluster.servers[0].environment(Role::Controller);
    let [user, password] = &controller;
    let login = [(user.0, user.1.as_str()), (password.0, password.1.as_str())];
    let denied = set_replicas(&cluster, login).await?;
    denied.expect_failure(1, &["$JS.API.STREAM.UPDATE.SCUTTLE_0"])?;
    let [user, password] = cluster.servers[0].environment(Role::Viewer);
    let login = [(user.0, user.1.as_str()), (password.0, password.1.as_str())];
    let denied = set_replicas(&cluster, login).await?;
    denied.expect_failure(1, &["use a login that may publish on $JS.API.STREAM.INFO"])?;
    let login = [
        ("SCUTTLE_NATS_USER", "maintenance"),
        ("SCUTTLE_NATS_PASSWORD", "maintenance"),
    ];
    let changed = set_replicas(&cluster, login).await?.expect_success()?;
    assert!(changed.contains("SCUTTLE_0"), "{changed}");
    let all_current = |counts: &Vec<(usize, bool)>| *counts == [(3, true); 3];
    let counts = || count_replicas(&maintenance);
    wait_until("three copies of everything", counts, all_current).await?;

    cluster.controllers[0].process().ensure_running()?;
    cluster.operator.operation(accepted.operation_id).await?;
    cluster.crash_controller().await?;
    let http = cluster.controllers[0].http().await?;
    http.wait_for_texts("/metrics", &["scuttle_replicas_differ 0"])
        .await?;
    let doctor = run_doctor(&cluster).await?;
    assert!(!doctor.stdout.contains("replicas"), "{doctor:?}");
    Ok(())
}

/// The default of three replicas needs a cluster.
#[tokio::test]
async fn a_controller_of_a_single_server_says_which_number_of_replicas_works() -> TestResult {
    let nats = Nats::start().await?;
    let dir = tempfile::tempdir()?;
    let mut environment = Vec::from(nats.environment(Role::Controller));
    environment.push(("SCUTTLE_STORE", "jetstream".to_owned()));
    let data_dir = dir.path().join("controller");
    let mut controller = Controller::start(&nats.url(), environment, &data_dir)?;
    let line = controller
        .process()
        .wait_for_line("cannot open the bucket")
        .await?;
    assert!(line.contains("--replicas 1"), "{line}");
    Ok(())
}
