//! How the command comes to its server: flags, variables, and the contexts of the `nats` command.

use std::fs;

use scuttle_tests::{Role, Swarm, TestResult};
use serde_json::json;

use super::stage::Cli;

#[tokio::test]
async fn a_context_of_the_nats_command_is_used_where_nothing_else_is_said() -> TestResult {
    let swarm = Swarm::start().await?;
    swarm.host("worker-a").await?;
    let cli = Cli::with(&swarm, Vec::new())?;
    let folder = cli.home.join(".config/nats/context");
    fs::create_dir_all(&folder)?;
    let write = |name: &str, context: serde_json::Value| {
        fs::write(folder.join(format!("{name}.json")), context.to_string())
    };
    let role = |role: Role| {
        json!({
            "description": "", "url": swarm.nats.url(), "user": role.user(), "password": swarm.nats.password(role),
            "token": "", "creds": "", "nkey": "", "inbox_prefix": "",
        })
    };
    write("lab", role(Role::Operator))?;
    write("wall", role(Role::Viewer))?;
    write("token", json!({ "url": swarm.nats.url(), "token": "t" }))?;
    fs::write(folder.with_file_name("context.txt"), "lab\n")?;

    assert!(cli.run(&["hosts"]).await?.done()?.contains("worker-a"));
    let named = cli.run(&["doctor", "--context", "wall"]).await?.done()?;
    assert!(
        named.contains("the NATS context wall") && named.contains("is a viewer"),
        "{named}"
    );
    cli.run(&["hosts", "--context", "none"])
        .await?
        .failed(1, &["none.json", "nats context ls"])?;
    cli.run(&["hosts", "--context", "token"])
        .await?
        .failed(1, &["a token", "token.json"])?;
    // A flag goes before, and leaves the rest of a named context as it is.
    let url = [
        "hosts",
        "--context",
        "lab",
        "--nats-url",
        "nats://127.0.0.1:1",
    ];
    cli.run(&url).await?.failed(1, &["127.0.0.1:1"])?;
    let url = swarm.nats.url();
    let other = ["hosts", "--nats-url", url.as_str()];
    cli.run(&other)
        .await?
        .failed(4, &["an anonymous user may not connect"])?;
    let environment = vec![("SCUTTLE_CONTEXT", "wall".to_owned())];
    let viewer = Cli::with(&swarm, environment)?;
    let words = ["cancel", "01997c3e-5f1a-7c80-a2f4-0d6a7b5f1c11"];
    viewer
        .run(&words)
        .await?
        .failed(4, &["viewer may not publish"])?;
    Ok(())
}
