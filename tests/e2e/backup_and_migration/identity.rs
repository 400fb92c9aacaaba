//! The identity of the record: created once, and kept by a restart, a backup and its restore, a
//! migration in both directions, and a controller with an empty disk.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use scuttle_schemas::subjects::METADATA_RECORD;
use scuttle_tests::wait::with_timeout;
use scuttle_tests::{Client, Cluster, Controller, Nats, Role, TestResult, wait_until};
use serde_json::Value;

const SHARED: [(&str, &str); 2] = [("SCUTTLE_STORE", "jetstream"), ("SCUTTLE_REPLICAS", "1")];

/// Runs a subcommand of `scuttle-controller`, which must succeed.
async fn run(nats: &Nats, data_dir: &Path, arguments: &[&str]) -> TestResult {
    let mut command = Controller::command();
    command
        .args(arguments)
        .arg("--data-dir")
        .arg(data_dir)
        .envs(nats.environment(Role::Controller));
    if arguments[0] == "migrate" {
        command.args(["--nats-url", &nats.url(), "--replicas", "1"]);
    }
    let output = with_timeout(arguments[0], command.output()).await??;
    ensure!(output.status.success(), "{output:?}");
    Ok(())
}

/// Returns the identity of the record that the controllers serve.
async fn read_record(client: &Client) -> Result<String> {
    client.wait_until_ready().await?;
    let ping = || client.request_raw("$SRV.PING.scuttle", async_nats::HeaderMap::new(), "");
    let reply = wait_until("the controller answers", ping, |_| true).await?;
    let info: Value = serde_json::from_slice(&reply.payload)?;
    let record = info["metadata"][METADATA_RECORD].as_str();
    Ok(record.context(info.to_string())?.to_owned())
}

/// Starts a controller on the data directory, reads the record's identity, and stops the controller
/// as a service manager would.
async fn serve_once(
    nats: &Nats,
    client: &Client,
    data_dir: &Path,
    settings: &[(&'static str, &str)],
) -> Result<String> {
    let mut environment = Vec::from(nats.environment(Role::Controller));
    let settings = settings.iter();
    environment.extend(settings.map(|(name, value)| (*name, (*value).to_owned())));
    let mut controller = Controller::start(&nats.url(), environment, data_dir)?;
    let record = read_record(client).await?;
    let process = controller.process();
    process.send_signal("TERM").await?;
    ensure!(process.wait_for_exit().await?.success(), process.log());
    Ok(record)
}

#[tokio::test]
async fn the_identity_of_a_record_survives_a_restore_and_migrations() -> TestResult {
    let nats = Nats::start().await?;
    let client = Client::connect(&nats, Role::Operator).await?;
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("data");
    let record = serve_once(&nats, &client, &data, &[]).await?;
    assert_eq!(serve_once(&nats, &client, &data, &[]).await?, record);
    // Another record has another identity.
    let other = serve_once(&nats, &client, &dir.path().join("other"), &[]).await?;
    assert_ne!(other, record);

    let backup = dir.path().join("backup");
    let backup = backup.to_str().context("a path")?;
    run(&nats, &data, &["backup", backup]).await?;
    let restored = dir.path().join("restored");
    run(&nats, &restored, &["restore", backup]).await?;
    assert_eq!(serve_once(&nats, &client, &restored, &[]).await?, record);

    run(&nats, &restored, &["migrate", "--to", "jetstream"]).await?;
    assert_eq!(
        serve_once(&nats, &client, &restored, &SHARED).await?,
        record
    );
    let empty = dir.path().join("empty");
    assert_eq!(serve_once(&nats, &client, &empty, &SHARED).await?, record);
    run(&nats, &empty, &["migrate", "--to", "redb"]).await?;
    assert_eq!(serve_once(&nats, &client, &empty, &[]).await?, record);
    Ok(())
}

#[tokio::test]
async fn the_partitions_of_a_new_swarm_share_one_identity() -> TestResult {
    let cluster = Cluster::builder().partitions(2).start().await?;
    let mut records = std::collections::BTreeSet::new();
    let nats = cluster.operator.nats();
    let inbox = nats.new_inbox();
    let mut replies = nats.subscribe(inbox.clone()).await?;
    nats.publish_with_reply("$SRV.PING.scuttle", inbox, "".into())
        .await?;
    for _ in 0..2 {
        let reply = with_timeout(
            "a leader answers",
            futures_util::StreamExt::next(&mut replies),
        );
        let reply = reply.await?.context("the subscription ended")?;
        let info: Value = serde_json::from_slice(&reply.payload)?;
        let record = info["metadata"][METADATA_RECORD].as_str();
        records.insert(record.context(info.to_string())?.to_owned());
    }
    assert_eq!(records.len(), 1, "{records:?}");
    Ok(())
}
