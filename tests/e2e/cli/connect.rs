//! How the `scuttle` command finds its server: flags, environment variables, and contexts of the
//! `nats` command.

use std::fs;

use scuttle_tests::{Cluster, Role, TestResult};
use serde_json::json;

use super::cli_runner::Cli;

#[tokio::test]
async fn a_nats_context_is_used_for_everything_that_no_flag_or_variable_sets() -> TestResult {
    let cluster = Cluster::start().await?;
    cluster.enroll_host("worker-a").await?;
    let cli = Cli::with_environment(&cluster, Vec::new())?;
    let folder = cli.home.join(".config/nats/context");
    fs::create_dir_all(&folder)?;
    let write = |name: &str, context: serde_json::Value| {
        fs::write(folder.join(format!("{name}.json")), context.to_string())
    };
    let role = |role: Role| {
        json!({
            "description": "", "url": cluster.servers[0].url(), "user": role.user(), "password": cluster.servers[0].password(role),
            "token": "", "creds": "", "nkey": "", "inbox_prefix": "",
        })
    };
    write("lab", role(Role::Operator))?;
    write("wall", role(Role::Viewer))?;
    write(
        "token",
        json!({ "url": cluster.servers[0].url(), "token": "t" }),
    )?;
    fs::write(folder.with_file_name("context.txt"), "lab\n")?;

    assert!(
        cli.run(&["hosts"])
            .await?
            .expect_success()?
            .contains("worker-a")
    );
    let named = cli
        .run(&["doctor", "--context", "wall"])
        .await?
        .expect_success()?;
    assert!(
        named.contains("the NATS context wall") && named.contains("is a viewer"),
        "{named}"
    );
    cli.run(&["hosts", "--context", "none"])
        .await?
        .expect_failure(2, &["none.json", "nats context ls"])?;
    cli.run(&["hosts", "--context", "token"])
        .await?
        .expect_failure(2, &["a token", "token.json"])?;
    // A flag overrides one setting of a named context, and keeps the others.
    let url = [
        "hosts",
        "--context",
        "lab",
        "--nats-url",
        "nats://127.0.0.1:1",
    ];
    cli.run(&url).await?.expect_failure(6, &["127.0.0.1:1"])?;
    let url = cluster.servers[0].url();
    let other = ["hosts", "--nats-url", url.as_str()];
    cli.run(&other)
        .await?
        .expect_failure(4, &["not logged in: no credentials given", "--creds FILE"])?;
    // A flag overrides the environment, and an empty variable counts as unset.
    let environment = vec![
        ("SCUTTLE_NATS_URL", "nats://127.0.0.1:1".to_owned()),
        ("SCUTTLE_NATS_USER", "ignored".to_owned()),
        ("SCUTTLE_NATS_PASSWORD", "wrong".to_owned()),
    ];
    let overridden = Cli::with_environment(&cluster, environment)?;
    let arguments = ["hosts", "--context", "lab"];
    overridden.run(&arguments).await?.expect_success()?;
    let arguments = ["hosts", "--creds", "none.creds"];
    (overridden.run(&arguments).await?).expect_failure(2, &["none.creds"])?;
    let empty = [
        "SCUTTLE_NATS_URL",
        "SCUTTLE_NATS_USER",
        "SCUTTLE_NATS_PASSWORD",
        "SCUTTLE_NATS_CREDS",
        "SCUTTLE_CONTEXT",
        "SCUTTLE_BUS_DIR",
    ];
    let empty = empty.map(|name| (name, String::new())).into();
    let empty = Cli::with_environment(&cluster, empty)?;
    empty.run(&["hosts"]).await?.expect_success()?;

    let environment = vec![("SCUTTLE_CONTEXT", "wall".to_owned())];
    let viewer = Cli::with_environment(&cluster, environment)?;
    let arguments = ["cancel", "01997c3e-5f1a-7c80-a2f4-0d6a7b5f1c11"];
    viewer
        .run(&arguments)
        .await?
        .expect_failure(4, &["viewer may read, but cannot cancel operations"])?;
    Ok(())
}
