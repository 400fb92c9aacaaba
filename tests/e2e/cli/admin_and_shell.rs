//! Enrolling and removing hosts and users, shell completion, and manual pages.

use scuttle_schemas::subjects;
use scuttle_tests::{Cluster, ProvisionedServer, Role, TestResult};
use serde_json::Value;

use super::cli_runner::{Cli, check_schema};

/// A name leads to one host, also after another one was enrolled under that name as its id.
#[tokio::test]
async fn a_host_is_not_enrolled_with_the_name_of_a_live_host_as_its_id() -> TestResult {
    let cluster = Cluster::start().await?;
    let cli = Cli::with_role(&cluster, Role::Operator)?;
    // After a host with this id was decommissioned, a live host may have the id as its name.
    let first = ["enroll", "w7", "--host-uuid", "worker-a"];
    cli.run(&first).await?.expect_success()?;
    let gone = ["decommission", "w7", "--yes"];
    cli.run(&gone).await?.expect_success()?;
    let enrolled = cli.run_json(&["enroll", "worker-a"], 0, "cli/enrolled");
    let enrolled = enrolled.await?;
    let id = enrolled["host"]["host_uuid"].as_str().unwrap_or_default();
    let described = format!("worker-a ({id})");

    for host in ["worker-a", "Worker-A"] {
        let taken = cli.run(&["enroll", "w8", "--host-uuid", host]).await?;
        taken.expect_failure(4, &[&described])?;
    }
    let taken = cli.run(&["enroll", "WORKER-A"]).await?;
    taken.expect_failure(4, &[&described])?;

    let teardown = ["teardown", "worker-a", "--decky", "decky-01"];
    let missing = cli.run(&teardown).await?;
    missing.expect_failure(3, &["decky-01", &described])?;
    let plan = ["teardown", "worker-a", "--dry-run"];
    let plan = cli.run(&plan).await?.expect_success()?;
    assert!(plan.starts_with(&format!("{described}: ")), "{plan}");
    let out = cli.run(&["decommission", "worker-a", "--yes"]).await?;
    assert!(out.stderr.starts_with(&format!("{described}: ")), "{out:?}");
    // Both hosts are decommissioned now, so the text leads to none of them.
    let ambiguous = cli.run(&["hosts", "worker-a"]).await?;
    let candidates = ["ambiguous", "name w7, ID worker-a", id];
    ambiguous.expect_failure(4, &candidates)?;
    Ok(())
}

#[tokio::test]
async fn without_a_bus_directory_only_the_record_changes() -> TestResult {
    let cluster = Cluster::start().await?;
    let cli = Cli::with_role(&cluster, Role::Operator)?;
    let enrolled = cli.run(&["enroll", "worker-a"]).await?;
    assert!(
        enrolled.stderr.contains("no credentials were created"),
        "{enrolled:?}"
    );
    assert!(
        enrolled
            .expect_success()?
            .starts_with("scuttle-agent --nats-url")
    );
    let again = cli
        .run_json(&["enroll", "worker-a"], 0, "cli/enrolled")
        .await?;
    assert_eq!(
        (&again["repeated"], &again["credentials"]),
        (&Value::from(true), &Value::Null)
    );
    let set = [
        "host",
        "set",
        "worker-a",
        "--label",
        "rack=8",
        "--address",
        "10.0.0.7",
        "--name",
        "worker-b",
    ];
    let set = cli.run_json(&set, 0, "host_update_accepted").await?;
    assert_eq!(set["host"]["name"], "worker-b");
    assert_eq!(set["host"]["address"], "10.0.0.7");
    assert_eq!(set["host"]["labels"]["rack"], "8");
    let back = ["host", "set", "worker-b", "--name", "worker-a"];
    let out = cli.run(&back).await?.expect_success()?;
    assert_eq!(Value::from(out.trim()), set["host"]["host_uuid"]);
    cli.run(&["enroll", "worker-a", "--label", "rack=9"])
        .await?
        .expect_failure(4, &[subjects::HOSTS_UPDATE])?;
    let out = cli.run(&["decommission", "worker-a", "--yes"]).await?;
    assert!(
        out.stderr.contains("no credentials were revoked"),
        "{out:?}"
    );
    cli.run_json(
        &["decommission", "worker-a", "--yes"],
        0,
        "cli/decommissioned",
    )
    .await?;
    assert_eq!(cli.run(&["hosts"]).await?.expect_success()?, "");
    assert!(
        cli.run(&["hosts", "--all"])
            .await?
            .expect_success()?
            .contains("– decommissioned")
    );
    // A directory that is named must exist.
    let named = cli.run(&["enroll", "worker-b", "--dir", "none"]).await?;
    named.expect_failure(2, &["none is not a bus directory"])?;
    let anonymous = Cli::with_environment(
        &cluster,
        vec![("SCUTTLE_NATS_URL", cluster.servers[0].url())],
    )?;
    anonymous
        .run(&["enroll", "worker-b"])
        .await?
        .expect_failure(2, &["scuttle init"])?;
    Ok(())
}

#[tokio::test]
async fn the_administrative_verbs_report_results_as_json() -> TestResult {
    let bus = ProvisionedServer::start().await?;
    let _controller = bus.start_controller().await?;
    let json = |arguments: &'static [&'static str], schema: &'static str| {
        let bus = &bus;
        async move {
            let out = bus
                .run_scuttle(&[arguments, &["-o", "json"]].concat())
                .await?
                .expect_success()?;
            let value: Value = serde_json::from_str(&out)?;
            check_schema(schema, &value)?;
            anyhow::Ok(value)
        }
    };
    let enrolled = json(
        &["enroll", "worker-a", "--host-uuid", "worker-a"],
        "cli/enrolled",
    )
    .await?;
    assert_eq!(enrolled["credentials"], "worker-a.creds");
    json(
        &["user", "add", "alice", "--role", "viewer"],
        "cli/user_added",
    )
    .await?;
    let listed = json(&["user", "list"], "cli/users").await?;
    assert_eq!(listed["users"].as_array().map(Vec::len), Some(5));
    let removed = json(&["user", "remove", "alice"], "cli/user_removed").await?;
    assert_eq!(removed["revoked"], 1);
    // Every verb logs in as the admin of the bus directory.
    let hosts = json(&["hosts"], "hosts_list").await?;
    assert_eq!(hosts["hosts"][0]["name"], "worker-a");
    let out = json(&["decommission", "worker-a", "--yes"], "cli/decommissioned").await?;
    assert_eq!(out["revoked"], Value::from(vec!["worker-a"]));
    let folder = tempfile::tempdir()?;
    let made =
        scuttle_tests::programs::scuttle::run_scuttle(folder.path(), &["init", "-o", "json"], &[])
            .await?;
    check_schema(
        "cli/initialised",
        &serde_json::from_str(&made.expect_success()?)?,
    )?;
    Ok(())
}

#[tokio::test]
async fn a_shell_is_offered_the_hosts_deckies_and_operations_of_the_swarm() -> TestResult {
    let cluster = Cluster::start().await?;
    let agent = cluster.start_agent("worker-a", &["decky-01"]).await?;
    cluster.start_agent("worker-b", &["other-01"]).await?;
    let accepted = cluster.operator.tear_down(&agent.host, "decky-01").await?;
    let mut environment = Vec::from(cluster.servers[0].environment(Role::Viewer));
    environment.push(("SCUTTLE_NATS_URL", cluster.servers[0].url()));
    environment.push(("SCUTTLE_COMPLETE", "fish".to_owned()));
    let shell = Cli::with_environment(&cluster, environment)?;
    let id = accepted.operation_id.to_string();
    for (line, offered) in [
        (
            &["teardown", "wor"] as &[&str],
            &["worker-a", "worker-b"] as &[&str],
        ),
        (&["teardown", "worker-b", "--decky", ""], &["other-01"]),
        (&["op", "01"], &[&id]),
        (&["cancel", "01"], &[&id]),
        // The operation has not failed, and its decky is already being torn down.
        (&["retry", "01"], &[]),
        (&["teardown", "worker-a", "--decky", ""], &[]),
        (
            &["shards", "--state", "tea"],
            &["tearing_down", "teardown_failed"],
        ),
    ] {
        let out = shell
            .run(&[&["--", "scuttle"], line].concat())
            .await?
            .expect_success()?;
        let first = |line: &str| line.split('\t').next().unwrap_or_default().to_owned();
        let arguments: Vec<_> = out
            .lines()
            .map(first)
            .filter(|word| !word.starts_with('-'))
            .collect();
        // Only one of the two states starts with `tea`.
        let offered: Vec<_> = offered
            .iter()
            .filter(|word| word.starts_with(line[line.len() - 1]))
            .collect();
        assert_eq!(arguments.iter().collect::<Vec<_>>(), offered, "{line:?}");
    }
    let unreachable = [
        "--",
        "scuttle",
        "--nats-url",
        "nats://127.0.0.1:1",
        "teardown",
        "wor",
    ];
    assert_eq!(shell.run(&unreachable).await?.expect_success()?, "");
    Ok(())
}

#[tokio::test]
async fn completion_scripts_and_manual_pages_are_generated() -> TestResult {
    let folder = tempfile::tempdir()?;
    let cli = Cli::in_directory(folder.path().to_owned(), Vec::new())?;
    for name in ["bash", "zsh", "fish"] {
        let script = cli.run(&["completions", name]).await?.expect_success()?;
        assert!(
            script.contains("SCUTTLE_COMPLETE") && script.contains("scuttle"),
            "{script}"
        );
    }
    cli.run_json(&["completions", "bash"], 0, "cli/completions")
        .await?;
    let page = cli.run(&["man"]).await?.expect_success()?;
    assert!(page.contains(".TH scuttle 1"), "{page}");
    std::fs::create_dir_all(cli.home.join("man"))?;
    let pages = cli.run_json(&["man", "man"], 0, "cli/man_pages").await?;
    for page in pages["pages"].as_array().expect("a list") {
        let file = cli.home.join(page["file"].as_str().expect("a file"));
        assert!(
            std::fs::read_to_string(&file)?.contains(".SH SYNOPSIS"),
            "{}",
            file.display()
        );
    }
    Ok(())
}
