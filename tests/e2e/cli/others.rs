//! Letting in and out, for programs and without a bus directory; completions and manual pages.

use scuttle_tests::{Bus, Role, Swarm, TestResult};
use serde_json::Value;

use super::stage::{Cli, valid};

#[tokio::test]
async fn without_a_bus_directory_only_the_record_is_changed() -> TestResult {
    let swarm = Swarm::start().await?;
    let cli = Cli::of(&swarm, Role::Operator)?;
    let enrolled = cli.run(&["enroll", "worker-a"]).await?;
    assert!(
        enrolled.err.contains("no credentials were created"),
        "{enrolled:?}"
    );
    assert!(enrolled.done()?.starts_with("scuttle-agent --nats-url"));
    let again = cli.json(&["enroll", "worker-a"], 0, "cli/enrolled").await?;
    assert_eq!(
        (&again["repeated"], &again["credentials"]),
        (&Value::from(true), &Value::Null)
    );
    let out = cli.run(&["decommission", "worker-a"]).await?;
    assert!(out.err.contains("no credentials were revoked"), "{out:?}");
    cli.json(&["decommission", "worker-a"], 0, "cli/decommissioned")
        .await?;
    assert_eq!(cli.run(&["hosts"]).await?.done()?, "");
    assert!(
        cli.run(&["hosts", "--all"])
            .await?
            .done()?
            .contains("– decommissioned")
    );
    // A directory that was named is not done without.
    let named = cli.run(&["enroll", "worker-b", "--dir", "none"]).await?;
    named.failed(1, &["none is not a bus directory"])?;
    let nobody = Cli::with(&swarm, vec![("SCUTTLE_NATS_URL", swarm.nats.url())])?;
    nobody
        .run(&["enroll", "worker-b"])
        .await?
        .failed(1, &["scuttle init"])?;
    Ok(())
}

#[tokio::test]
async fn who_is_let_in_and_out_is_told_to_programs() -> TestResult {
    let bus = Bus::start().await?;
    let _controller = bus.controller().await?;
    let json = |words: &'static [&'static str], schema: &'static str| {
        let bus = &bus;
        async move {
            let out = bus
                .scuttle(&[words, &["-o", "json"]].concat())
                .await?
                .done()?;
            let value: Value = serde_json::from_str(&out)?;
            valid(schema, &value)?;
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
    let removed = json(&["user", "remove", "alice"], "cli/user_removed").await?;
    assert_eq!(removed["revoked"], 1);
    // The directory's own admin is the login of every verb.
    let hosts = json(&["hosts"], "hosts_list").await?;
    assert_eq!(hosts["hosts"][0]["name"], "worker-a");
    let out = json(&["decommission", "worker-a"], "cli/decommissioned").await?;
    assert_eq!(out["revoked"], Value::from(vec!["worker-a"]));
    let folder = tempfile::tempdir()?;
    let made =
        scuttle_tests::cluster::bus::scuttle(folder.path(), &["init", "-o", "json"], &[]).await?;
    valid("cli/initialised", &serde_json::from_str(&made.done()?)?)?;
    Ok(())
}

#[tokio::test]
async fn a_shell_is_offered_what_is_in_the_swarm() -> TestResult {
    let swarm = Swarm::start().await?;
    let agent = swarm.agent("worker-a", &["decky-01"]).await?;
    swarm.agent("worker-b", &["other-01"]).await?;
    let accepted = swarm.operator.teardown(&agent.host, "decky-01").await?;
    let mut environment = Vec::from(swarm.nats.environment(Role::Viewer));
    environment.push(("SCUTTLE_NATS_URL", swarm.nats.url()));
    environment.push(("SCUTTLE_COMPLETE", "fish".to_owned()));
    let shell = Cli::with(&swarm, environment)?;
    let id = accepted.operation_id.to_string();
    for (line, offered) in [
        (
            &["teardown", "wor"] as &[&str],
            &["worker-a", "worker-b"] as &[&str],
        ),
        (&["teardown", "worker-b", "--decky", ""], &["other-01"]),
        (&["op", "01"], &[&id]),
        (
            &["shards", "--state", "tea"],
            &["tearing_down", "teardown_failed"],
        ),
    ] {
        let out = shell
            .run(&[&["--", "scuttle"], line].concat())
            .await?
            .done()?;
        let first = |line: &str| line.split('\t').next().unwrap_or_default().to_owned();
        let words: Vec<_> = out
            .lines()
            .map(first)
            .filter(|word| !word.starts_with('-'))
            .collect();
        // `tea` begins one word of the two.
        let offered: Vec<_> = offered
            .iter()
            .filter(|word| word.starts_with(line[line.len() - 1]))
            .collect();
        assert_eq!(words.iter().collect::<Vec<_>>(), offered, "{line:?}");
    }
    let mute = [
        "--",
        "scuttle",
        "--nats-url",
        "nats://127.0.0.1:1",
        "teardown",
        "wor",
    ];
    assert_eq!(shell.run(&mute).await?.done()?, "");
    Ok(())
}

#[tokio::test]
async fn scripts_for_shells_and_manual_pages_are_made() -> TestResult {
    let folder = tempfile::tempdir()?;
    let cli = Cli::at(folder.path().to_owned(), Vec::new())?;
    for name in ["bash", "zsh", "fish"] {
        let script = cli.run(&["completions", name]).await?.done()?;
        assert!(
            script.contains("SCUTTLE_COMPLETE") && script.contains("scuttle"),
            "{script}"
        );
    }
    cli.json(&["completions", "bash"], 0, "cli/completions")
        .await?;
    let page = cli.run(&["man"]).await?.done()?;
    assert!(page.contains(".TH scuttle 1"), "{page}");
    std::fs::create_dir_all(cli.home.join("man"))?;
    let pages = cli.json(&["man", "man"], 0, "cli/man_pages").await?;
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
