//! `scuttle-controller remove-leftovers`: deletes what a migration to the store of a single
//! controller left behind on the NATS servers, and nothing that a controller uses.

use std::path::Path;

use anyhow::Result;
use scuttle_schemas::{PartitionCount, subjects};
use scuttle_tests::programs::scuttle::{CommandOutput, run_to_end};
use scuttle_tests::{Cluster, Controller, Role, TestResult};

use super::migration::{check, environment, populate, run, start, stop};
use crate::cluster::lost_journal::{add_maintenance_user, connect_for_maintenance};

const TO_JETSTREAM: [&str; 3] = ["migrate", "--to", "jetstream"];
const TO_REDB: [&str; 3] = ["migrate", "--to", "redb"];

/// A login that may delete streams.
const MAINTENANCE: [(&str, &str); 2] = [
    ("SCUTTLE_NATS_USER", "maintenance"),
    ("SCUTTLE_NATS_PASSWORD", "maintenance"),
];

async fn remove_leftovers(
    cluster: &Cluster,
    data_dir: &Path,
    login: impl IntoIterator<Item = (&str, &str)>,
) -> Result<CommandOutput> {
    let mut command = Controller::command();
    command
        .args(["remove-leftovers", "--yes", "--nats-url"])
        .arg(cluster.servers[0].url())
        .arg("--data-dir")
        .arg(data_dir)
        .envs(login);
    run_to_end(command, &["remove-leftovers"]).await
}

/// Returns the names of the streams of the record that exist on the servers.
async fn list_streams(cluster: &Cluster) -> Result<Vec<String>> {
    let context = connect_for_maintenance(cluster).await?;
    let mut found = Vec::new();
    for name in subjects::controller_stream_names(PartitionCount::ONE) {
        if context.get_stream(&name).await.is_ok() {
            found.push(name);
        }
    }
    Ok(found)
}

#[tokio::test]
async fn a_migration_there_and_back_leaves_nothing_behind() -> TestResult {
    let builder = Cluster::builder().nats_conf(add_maintenance_user);
    let mut cluster = builder.start().await?;
    let host = populate(&cluster).await?;
    let data = cluster.path("controller");
    stop(&mut cluster.controllers[0]).await?;
    let moved = run(&cluster, &TO_JETSTREAM, &data).await?;
    check(moved, 0, &["Nothing was left behind"]);
    // The streams on the servers are the record now.
    let none = remove_leftovers(&cluster, &data, MAINTENANCE).await?;
    none.expect_failure(1, &["nothing to remove"])?;
    start(&mut cluster, &data, true).await?;
    stop(&mut cluster.controllers[0]).await?;

    let back = run(&cluster, &TO_REDB, &data).await?;
    check(
        back,
        0,
        &["SCUTTLE_0", "scuttle-controller remove-leftovers"],
    );
    start(&mut cluster, &data, false).await?;
    assert_eq!(list_streams(&cluster).await?.len(), 3);
    let controller = cluster.servers[0].environment(Role::Controller);
    let login = controller
        .iter()
        .map(|(name, value)| (*name, value.as_str()));
    let denied = remove_leftovers(&cluster, &data, login).await?;
    denied.expect_failure(1, &["$JS.API.STREAM.DELETE.SCUTTLE_0"])?;
    assert_eq!(list_streams(&cluster).await?.len(), 3);
    let removed = remove_leftovers(&cluster, &data, MAINTENANCE).await?;
    let removed = removed.expect_success()?;
    assert!(removed.contains("SCUTTLE_0"), "{removed}");
    assert_eq!(list_streams(&cluster).await?, Vec::<String>::new());
    let again = remove_leftovers(&cluster, &data, MAINTENANCE).await?;
    again.expect_failure(1, &["nothing to remove"])?;

    // The record is complete, and can be moved to the servers again.
    assert!(cluster.operator.shard_states(&host).await?.contains("d3"));
    stop(&mut cluster.controllers[0]).await?;
    let moved = run(&cluster, &TO_JETSTREAM, &data).await?;
    check(moved, 0, &["Nothing was left behind"]);
    Ok(())
}

#[tokio::test]
async fn streams_that_a_controller_uses_or_has_used_are_not_removed() -> TestResult {
    let builder = Cluster::builder().nats_conf(add_maintenance_user);
    let mut cluster = builder.start().await?;
    populate(&cluster).await?;
    let data = cluster.path("controller");
    stop(&mut cluster.controllers[0]).await?;
    let moved = run(&cluster, &TO_JETSTREAM, &data).await?;
    check(moved, 0, &["rows and compared each"]);
    let back = run(&cluster, &TO_REDB, &data).await?;
    check(back, 0, &["rows and compared each"]);

    // Another controller still uses the streams, although the record has been moved away.
    let other = cluster.path("other");
    let environment = environment(&cluster, true);
    cluster.controllers[0] = Controller::start(&cluster.servers[0].url(), environment, &other)?;
    cluster.operator.wait_until_ready().await?;
    let used = remove_leftovers(&cluster, &data, MAINTENANCE).await?;
    used.expect_failure(1, &["a controller uses these NATS servers"])?;
    stop(&mut cluster.controllers[0]).await?;
    let used = remove_leftovers(&cluster, &data, MAINTENANCE).await?;
    used.expect_failure(1, &["has changed since the migration"])?;
    assert_eq!(list_streams(&cluster).await?.len(), 3);
    Ok(())
}
