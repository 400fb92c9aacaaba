//! The bus directory: its server and login, the paths that commands write, and the last operator.

use std::fs;

use anyhow::Context;
use scuttle_tests::programs::scuttle::run_scuttle;
use scuttle_tests::servers::nats_server::find_free_ports;
use scuttle_tests::{ProvisionedServer, TestResult};
use serde_json::{Value, json};

/// The directory knows its server, so that no other setting is needed.
#[tokio::test]
async fn the_bus_directory_has_the_address_of_its_server() -> TestResult {
    let [port] = find_free_ports::<1>()?;
    let port = port.to_string();
    let dir = tempfile::tempdir()?;
    let folder = dir.path().to_owned();
    let mut bus = ProvisionedServer::start_with(dir, &["--port", &port], &[]).await?;
    bus.restart_on(port.parse()?).await?;
    let _controller = bus.start_controller().await?;
    let url = format!("nats://127.0.0.1:{port}");
    let run = async |arguments: &[&str], environment: &[(&str, &str)]| {
        run_scuttle(&folder, arguments, environment).await
    };
    let enrolled = run(&["enroll", "worker-a"], &[]).await?;
    let swarm = format!("the swarm at {url} (bus directory bus)");
    assert!(enrolled.stderr.contains(&swarm), "{enrolled:?}");
    let start = enrolled.expect_success()?;
    assert!(start.contains(&format!("--nats-url {url}")), "{start}");
    run(&["hosts"], &[]).await?.expect_success()?;
    run(&["hosts"], &[("SCUTTLE_BUS_DIR", "none")])
        .await?
        .expect_failure(2, &["none is not a bus directory", "SCUTTLE_BUS_DIR"])?;

    // A directory in the current folder takes the place of the selected context, but says so.
    fs::rename(folder.join("bus"), folder.join("scuttle-bus"))?;
    let contexts = folder.join(".config/nats/context");
    fs::create_dir_all(&contexts)?;
    fs::write(contexts.with_file_name("context.txt"), "lab\n")?;
    fs::write(contexts.join("lab.json"), r#"{"url":"nats://127.0.0.1:1"}"#)?;
    let home = folder.to_str().context("the path is not UTF-8")?;
    let environment = [
        ("SCUTTLE_BUS_DIR", ""),
        ("HOME", home),
        ("XDG_CONFIG_HOME", ""),
    ];
    let teardown = ["teardown", "worker-a", "--yes"];
    let result = run(&teardown, &environment).await?;
    let swarm = format!("{url} (bus directory scuttle-bus)");
    for text in [
        format!("Using the swarm at {swarm}, not the selected NATS context lab"),
        format!("Swarm: {swarm}"),
    ] {
        assert!(result.stderr.contains(&text), "{text}: {result:?}");
    }
    result.expect_success()?;
    let named = ["hosts", "--context", "lab"];
    run(&named, &environment)
        .await?
        .expect_failure(6, &["nats://127.0.0.1:1"])?;
    Ok(())
}

/// A host that cannot get credentials is not enrolled, and a user without a file uses up no name.
#[tokio::test]
async fn paths_are_checked_before_anything_is_created() -> TestResult {
    let bus = ProvisionedServer::start().await?;
    let _controller = bus.start_controller().await?;
    let admin = bus.connect(&bus.credentials("admin")).await?;
    fs::write(bus.path("file"), "")?;
    for (out, code) in [
        ("none/worker-a.creds", 1),
        ("file/worker-a.creds", 1),
        ("file", 4),
    ] {
        bus.run_scuttle(&["enroll", "worker-a", "--out", out])
            .await?
            .expect_failure(code, &[out])?;
        let arguments = ["user", "add", "olga", "--role", "viewer", "--out", out];
        run_scuttle(&bus.path(""), &arguments, &[])
            .await?
            .expect_failure(code, &[out])?;
    }
    let existing = ["user", "add", "olga", "--role", "viewer", "--out", "file"];
    run_scuttle(&bus.path(""), &existing, &[])
        .await?
        .expect_failure(4, &["file exists", "--out FILE"])?;
    let (seed, away) = (bus.path("bus/keys/agent.seed"), bus.path("away"));
    fs::rename(&seed, &away)?;
    bus.run_scuttle(&["enroll", "worker-a"])
        .await?
        .expect_failure(1, &["keys/agent.seed"])?;
    fs::rename(&away, &seed)?;
    assert!(admin.list_hosts().await?.is_empty());
    assert!(!bus.path("worker-a.creds").exists());
    bus.enroll("worker-a").await?;
    let added = ["user", "add", "olga", "--role", "viewer"];
    let added = run_scuttle(&bus.path(""), &added, &[]).await?;
    for text in [
        "Send olga.creds to the new user",
        "--nats-url nats://",
        "--creds olga.creds",
    ] {
        assert!(added.stderr.contains(text), "{text}: {added:?}");
    }
    added.expect_success()?;
    let name = ["user", "add", "bob smith", "--role", "viewer"];
    run_scuttle(&bus.path(""), &name, &[])
        .await?
        .expect_failure(2, &["the name of a user"])?;
    // The first credentials file is still there.
    let again = bus.run_scuttle(&["enroll", "worker-a"]).await?;
    again.expect_failure(4, &["already has credentials", "--renew --out FILE"])?;
    Ok(())
}

/// The bus directory must not lose the login that can change the swarm by accident.
#[tokio::test]
async fn the_last_operator_is_removed_only_by_force_and_can_be_created_again() -> TestResult {
    let bus = ProvisionedServer::start().await?;
    let _controller = bus.start_controller().await?;
    let vera = bus.add_user("vera", "viewer").await?;
    bus.enroll("worker-a").await?;
    let remove = ["user", "remove", "admin"];
    bus.run_scuttle(&remove)
        .await?
        .expect_failure(4, &["admin", "last operator", "--force"])?;
    bus.run_scuttle(&["hosts"]).await?.expect_success()?;

    let connected = bus.connect(&vera).await?;
    let listed = bus.run_scuttle(&["user", "list", "-o", "json"]).await?;
    let listed: Value = serde_json::from_str(&listed.expect_success()?)?;
    let find = |name: &str| {
        let users = listed["users"].as_array().into_iter().flatten();
        let mut users = users.filter(|user| user["user"] == name);
        users.next().cloned().context(name.to_owned())
    };
    let (vera, agent) = (find("vera")?, find("worker-a")?);
    assert_eq!(
        (&vera["role"], &vera["host_name"]),
        (&json!("viewer"), &Value::Null)
    );
    assert!(
        vera["last_seen"].is_string() && vera["created_at"].is_string(),
        "{listed:#}"
    );
    assert_eq!(
        (&agent["role"], &agent["host_name"], &agent["last_seen"]),
        (&json!("agent"), &json!("worker-a"), &Value::Null)
    );
    drop(connected);
    let table = bus.run_scuttle(&["user", "list"]).await?.expect_success()?;
    assert!(
        table.contains("LAST SEEN") && table.contains("vera"),
        "{table}"
    );

    // With another operator, no one is locked out.
    let olga = bus.add_user("olga", "operator").await?;
    bus.run_scuttle(&remove).await?.expect_success()?;
    bus.run_scuttle(&["hosts"])
        .await?
        .expect_failure(2, &["admin.creds"])?;
    let olga = olga.to_str().context("the path is not UTF-8")?;
    bus.run_scuttle(&["user", "remove", "olga", "--creds", olga])
        .await?
        .expect_failure(4, &["last operator"])?;
    bus.run_scuttle(&["user", "remove", "olga", "--force"])
        .await?
        .expect_success()?;
    let add = ["user", "add", "admin", "--role", "operator"];
    run_scuttle(&bus.path(""), &add, &[])
        .await?
        .expect_success()?;
    bus.run_scuttle(&["hosts"]).await?.expect_success()?;
    Ok(())
}
