//! `scuttle doctor`: a healthy swarm, and each way in which one is not.

use anyhow::Result;
use scuttle_schemas::subjects;
use scuttle_tests::{Bus, Client, Controller, Nats, Role, Swarm, TestResult};
use serde_json::Value;

use super::stage::{Cli, valid};

/// The checks and their statuses, in one line: `server ok, version ok`.
async fn checks(cli: &Cli, words: &[&str], code: i32) -> Result<(String, Value)> {
    let diagnosis = cli
        .json(&[&["doctor"], words].concat(), code, "cli/diagnosis")
        .await?;
    assert_eq!(diagnosis["healthy"], code == 0);
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let checks = diagnosis["checks"].as_array().expect("a list");
    let checks = checks
        .iter()
        .map(|one| format!("{} {}", word(&one["check"]), word(&one["status"])));
    Ok((checks.collect::<Vec<_>>().join(", "), diagnosis))
}

const ALL_IS_WELL: &str =
    "connection ok, server ok, version ok, login ok, permissions ok, controller ok, clock ok";

#[tokio::test]
async fn a_healthy_swarm_is_found_healthy_and_left_as_it_is() -> TestResult {
    let swarm = Swarm::start().await?;
    let cli = Cli::of(&swarm, Role::Operator)?;
    let (found, diagnosis) = checks(&cli, &[], 0).await?;
    assert_eq!(
        found,
        format!("{ALL_IS_WELL}, durability ok"),
        "{diagnosis:#}"
    );
    let said = diagnosis.to_string();
    assert!(said.contains("is an operator"), "{said}");
    let viewer = Cli::of(&swarm, Role::Viewer)?;
    let (found, diagnosis) = checks(&viewer, &[], 0).await?;
    assert_eq!(
        found,
        format!("{ALL_IS_WELL}, durability skipped"),
        "{diagnosis:#}"
    );
    assert!(
        diagnosis.to_string().contains("is a viewer"),
        "{diagnosis:#}"
    );
    let shown = cli.run(&["doctor"]).await?.done()?;
    assert_eq!(
        shown
            .lines()
            .filter(|line| line.starts_with("✓ ok"))
            .count(),
        8,
        "{shown}"
    );
    for check in diagnosis["checks"].as_array().expect("a list") {
        valid("cli/check", check)?;
    }
    assert!(swarm.operator.operations().await?.is_empty());
    assert!(swarm.operator.hosts().await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn what_is_wrong_is_named_with_what_to_do() -> TestResult {
    let mut swarm = Swarm::start().await?;
    let cli = Cli::of(&swarm, Role::Operator)?;
    let (found, _) = checks(&cli, &["--nats-password", "wrong"], 4).await?;
    assert!(
        found.contains("server ok") && found.contains("login failed"),
        "{found}"
    );
    let (found, diagnosis) = checks(&cli, &["--nats-url", "nats://127.0.0.1:1"], 1).await?;
    assert!(
        found.contains("server failed") && found.contains("clock skipped"),
        "{found}"
    );
    assert!(
        diagnosis.to_string().contains("start nats-server"),
        "{diagnosis:#}"
    );
    // An agent may neither look nor hear.
    let agents = Cli::of(&swarm, Role::Agents)?;
    let (found, _) = checks(&agents, &[], 4).await?;
    assert!(found.contains("permissions failed"), "{found}");
    swarm.controller.kill().await?;
    let (found, diagnosis) = checks(&cli, &[], 6).await?;
    assert!(
        found.contains("permissions ok, controller failed, clock skipped"),
        "{found}"
    );
    assert!(
        diagnosis.to_string().contains("start scuttle-controller"),
        "{diagnosis:#}"
    );
    Ok(())
}

/// A swarm whose server stores as `nats.conf` says after this change, and what the check of it says.
async fn durability(change: impl FnOnce(&str) -> String) -> Result<Value> {
    let nats = Nats::start_with(change).await?;
    let dir = tempfile::tempdir()?;
    let _controller = Controller::start(&nats, &dir.path().join("controller"))?;
    Client::connect(&nats, Role::Operator)
        .await?
        .answered()
        .await?;
    let mut environment = Vec::from(nats.environment(Role::Operator));
    environment.push(("SCUTTLE_NATS_URL", nats.url()));
    let cli = Cli::at(dir.path().join("home"), environment)?;
    // A warning makes no swarm unhealthy.
    let (_, diagnosis) = checks(&cli, &[], 0).await?;
    let all = diagnosis["checks"].as_array().expect("a list");
    let check = all.iter().find(|one| one["check"] == "durability");
    Ok(check.expect("it is made").clone())
}

#[tokio::test]
async fn a_server_that_acknowledges_too_early_is_named() -> TestResult {
    let named = |configuration: &str| format!("server_name: \"nats-a\"\n{configuration}");
    let early =
        |configuration: &str| named(&configuration.replace("  sync_interval: always\n", ""));
    // Without an import nobody hears the question.
    let nobody = |configuration: &str| {
        let name = format!("to: \"{}\"", subjects::SERVER_INFO);
        let import = |line: &&str| !line.contains(&name);
        configuration
            .lines()
            .filter(import)
            .collect::<Vec<_>>()
            .join("\n")
    };
    let (named, early, nobody) =
        tokio::try_join!(durability(named), durability(early), durability(nobody))?;
    assert_eq!(named["status"], "ok", "{named:#}");
    assert!(named["found"].to_string().contains("nats-a"), "{named:#}");
    assert_eq!(early["status"], "warning", "{early:#}");
    for words in ["nats-a", "2 min 0 s", "power cut"] {
        assert!(early["found"].to_string().contains(words), "{early:#}");
    }
    let to_do = early["to_do"].to_string();
    assert!(to_do.contains("sync_interval: always"), "{early:#}");
    assert_eq!(nobody["status"], "skipped", "{nobody:#}");
    Ok(())
}

/// What `scuttle init` makes stores as `nats.conf` does, and lets an operator ask.
#[tokio::test]
async fn what_init_makes_fsyncs_first() -> TestResult {
    let bus = Bus::start().await?;
    let _controller = bus.controller().await?;
    let diagnosis = bus.scuttle(&["doctor", "-o", "json"]).await?.done()?;
    let diagnosis: Value = serde_json::from_str(&diagnosis)?;
    let all = diagnosis["checks"].as_array().expect("a list");
    let check = all.iter().find(|one| one["check"] == "durability");
    assert_eq!(check.expect("it is made")["status"], "ok", "{diagnosis:#}");
    Ok(())
}
