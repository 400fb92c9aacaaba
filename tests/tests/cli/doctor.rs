//! `scuttle doctor`: a healthy swarm, and each way in which one is not.

use anyhow::Result;
use scuttle_tests::{Role, Swarm, TestResult};
use serde_json::Value;

use crate::stage::{Cli, valid};

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
    assert_eq!(found, ALL_IS_WELL, "{diagnosis:#}");
    let said = diagnosis.to_string();
    assert!(said.contains("is an operator"), "{said}");
    let viewer = Cli::of(&swarm, Role::Viewer)?;
    let (found, diagnosis) = checks(&viewer, &[], 0).await?;
    assert_eq!(found, ALL_IS_WELL, "{diagnosis:#}");
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
        7,
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
