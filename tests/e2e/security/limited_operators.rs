//! Operators who are limited to hosts: how they are added, and what the `scuttle` command does for
//! them. What the server permits them is in `permissions.rs`.

use std::fs;

use anyhow::{Context, Result, ensure};
use scuttle_tests::programs::scuttle::CommandOutput;
use scuttle_tests::{ProvisionedServer, TestResult};
use serde_json::Value;

/// Starts a server and a controller with three hosts, of which the third has a name that differs
/// from its id, and adds `bob`, an operator for the first and the third.
async fn start_with_bob() -> Result<(ProvisionedServer, scuttle_tests::Controller)> {
    let bus = ProvisionedServer::start().await?;
    let controller = bus.start_controller().await?;
    bus.enroll("worker-a").await?;
    bus.enroll("worker-b").await?;
    // The case of an id must not be lost in the tags of the token.
    let third = ["enroll", "worker-c", "--host-uuid", "Id-C_3"];
    bus.run_scuttle(&third).await?.expect_success()?;
    let hosts = [
        "--host", "worker-a", "--host", "worker-c", "--host", "worker-a",
    ];
    let add = [&["user", "add", "bob", "--role", "operator"], &hosts[..]].concat();
    bus.run_scuttle(&add).await?.expect_success()?;
    Ok((bus, controller))
}

async fn run_as_bob(bus: &ProvisionedServer, arguments: &[&str]) -> Result<CommandOutput> {
    let creds = bus.path("bob.creds");
    let creds = creds.to_str().context("the path is not UTF-8")?;
    bus.run_scuttle(&[arguments, &["--creds", creds]].concat())
        .await
}

#[tokio::test]
async fn an_operator_with_hosts_tears_down_on_these_hosts_only() -> TestResult {
    let (bus, _controller) = start_with_bob().await?;
    for host in ["worker-a", "worker-c"] {
        for arguments in [
            &["teardown", host, "--dry-run"] as &[&str],
            &["teardown", host, "--yes", "--timeout", "1h"],
        ] {
            run_as_bob(&bus, arguments).await?.expect_success()?;
        }
    }
    let admin = bus.connect(&bus.credentials("admin")).await?;
    let operations = admin.list_operations().await?;
    assert_eq!(operations.len(), 2);
    assert!(operations.iter().all(|one| one.requested_by == "bob"));

    let denied = run_as_bob(&bus, &["teardown", "worker-b", "--yes"]).await?;
    assert_eq!(denied.code, 4, "{denied:?}");
    let expected = "bob may tear down only on worker-a, worker-c";
    assert!(denied.stderr.contains(expected), "{denied:?}");
    let id = operations[0].operation_id.to_string();
    let denied = run_as_bob(&bus, &["cancel", &id]).await?;
    assert_eq!(denied.code, 4, "{denied:?}");
    assert!(
        denied.stderr.contains("bob may read, but cannot cancel"),
        "{denied:?}"
    );

    let shown = run_as_bob(&bus, &["hosts"]).await?.expect_success()?;
    assert!(shown.contains("worker-b"), "{shown}");
    let shown = run_as_bob(&bus, &["doctor"]).await?.stdout;
    let expected = "bob is an operator for worker-a, worker-c";
    assert!(shown.contains(expected), "{shown}");
    Ok(())
}

#[tokio::test]
async fn an_operator_with_hosts_is_listed_with_them_and_can_be_removed() -> TestResult {
    let (bus, _controller) = start_with_bob().await?;
    let list = ["user", "list", "-o", "json"];
    let users: Value = serde_json::from_str(&bus.run_scuttle(&list).await?.expect_success()?)?;
    let users = users["users"].as_array().context("no users")?;
    let bob = users.iter().find(|user| user["user"] == "bob");
    let bob = bob.context("bob is not listed")?;
    assert_eq!(bob["role"], "operator");
    let hosts = serde_json::json!([
        { "host_uuid": "worker-a", "host_name": "worker-a" },
        { "host_uuid": "Id-C_3", "host_name": "worker-c" },
    ]);
    assert_eq!(bob["hosts"], hosts);
    let table = bus.run_scuttle(&["user", "list"]).await?.expect_success()?;
    assert!(table.contains("worker-a, worker-c"), "{table}");

    bus.run_scuttle(&["user", "remove", "bob"])
        .await?
        .expect_success()?;
    ensure!(bus.connect(&bus.path("bob.creds")).await.is_err());
    Ok(())
}

#[tokio::test]
async fn an_operator_is_limited_only_to_enrolled_hosts_and_in_a_new_directory() -> TestResult {
    let (bus, _controller) = start_with_bob().await?;
    let add = ["user", "add", "eve", "--role"];
    for (rest, code, text) in [
        (
            &["operator", "--host", "worker-z"][..],
            3,
            "worker-z not found",
        ),
        (
            &["viewer", "--host", "worker-a"],
            2,
            "leave it out for a viewer",
        ),
    ] {
        let failed = bus.run_scuttle(&[&add, rest].concat()).await?;
        assert_eq!(failed.code, code, "{failed:?}");
        assert!(failed.stderr.contains(text), "{failed:?}");
        assert!(!bus.path("eve.creds").exists());
    }
    // A directory of an earlier version has no such key.
    fs::remove_file(bus.path("bus").join("keys").join("host-operator.seed"))?;
    let rest = ["operator", "--host", "worker-a"];
    let failed = bus.run_scuttle(&[&add[..], &rest].concat()).await?;
    assert_eq!(failed.code, 4, "{failed:?}");
    assert!(
        failed.stderr.contains("scuttle init --dir NEW"),
        "{failed:?}"
    );
    let without_hosts = [&add[..], &["operator"]].concat();
    bus.run_scuttle(&without_hosts).await?.expect_success()?;
    Ok(())
}

/// The NATS server reads at most 4 KiB of a login.
#[tokio::test]
async fn an_operator_with_the_maximum_number_of_hosts_can_log_in() -> TestResult {
    let bus = ProvisionedServer::start().await?;
    let _controller = bus.start_controller().await?;
    let admin = bus.connect(&bus.credentials("admin")).await?;
    let mut add = vec!["user".to_owned(), "add".to_owned(), "u".repeat(64)];
    add.extend(["--role", "operator"].map(str::to_owned));
    for number in 0..25 {
        let id = format!("{number:0>64}");
        let request = serde_json::json!({ "name": id, "host_uuid": id });
        let _: Value = admin
            .request(scuttle_schemas::subjects::HOSTS_ENROLL, &request)
            .await?;
        add.extend(["--host".to_owned(), id]);
    }
    let add: Vec<&str> = add.iter().map(String::as_str).collect();
    let too_many = bus.run_scuttle(&add).await?;
    assert_eq!(too_many.code, 2, "{too_many:?}");
    bus.run_scuttle(&add[..add.len() - 2])
        .await?
        .expect_success()?;
    let creds = bus.path(&format!("{}.creds", "u".repeat(64)));
    let limited = bus.connect(&creds).await?;
    for number in [0, 23] {
        let host = format!("{number:0>64}").parse()?;
        let subject = scuttle_schemas::subjects::host_teardown_subject(&host);
        let dry_run = serde_json::json!({ "dry_run": true });
        let _: Value = limited.request(&subject, &dry_run).await?;
    }
    Ok(())
}
