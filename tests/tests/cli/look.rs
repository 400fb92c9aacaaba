//! The verbs that only look, for people and for programs, and how they fail.

use scuttle_tests::{Role, Swarm, TestResult, failed};
use serde_json::Value;

use crate::stage::Cli;

#[tokio::test]
async fn what_there_is_is_shown_to_people_and_to_programs() -> TestResult {
    let swarm = Swarm::start().await?;
    let mut agent = swarm.agent("worker-a", &["decky-01", "decky-02"]).await?;
    swarm.host("worker-b").await?;
    let accepted = swarm.operator.teardown(&agent.host, "decky-01").await?;
    let operation = agent.command().await?.operation_id;
    let busy = failed("decky-01", "container busy");
    agent.fail(operation, "container\nbusy", vec![busy]).await?;
    swarm.operator.ended(accepted.operation_id).await?;
    let id = operation.to_string();
    let cli = Cli::of(&swarm, Role::Viewer)?;

    let shown = |words: &'static [&'static str]| {
        let cli = &cli;
        async move { cli.run(words).await?.done() }
    };
    for (words, parts) in [
        (
            &["hosts"] as &[&str],
            &["HOST", "worker-a", "● online", "worker-b", "○ enrolled"] as &[&str],
        ),
        (
            &["shards"],
            &[
                "✗ teardown failed",
                "container busy",
                "● running",
                "10.0.0.7",
                "ssh",
            ],
        ),
        (&["shards", "worker-a", "--state", "running"], &["decky-02"]),
        (
            &["ops", "--host", "worker-a"],
            &["worker-a/decky-01", "✗ failed", "operator", "1 failed", &id],
        ),
        (
            &["op", &id],
            &[
                "teardown of worker-a/decky-01",
                "container busy",
                "once",
                "scuttle retry",
                "DECKY",
            ],
        ),
    ] {
        let out = cli.run(words).await?.done()?;
        for part in parts {
            assert!(out.contains(part), "{part:?} is in\n{out}");
        }
        assert!(!out.contains('\x1b'), "no colours in a pipe: {out:?}");
    }
    let one = shown(&["shards", "worker-a", "--state", "running"]).await?;
    assert_eq!(one.lines().count(), 2, "{one}");

    let hosts = cli.json(&["hosts"], 0, "hosts_list").await?;
    assert_eq!(Value::from(cli.lines(&["hosts"]).await?), hosts["hosts"]);
    let shards = cli.json(&["shards"], 0, "shards_list").await?;
    assert_eq!(shards["shards"].as_array().map(Vec::len), Some(2));
    assert_eq!(Value::from(cli.lines(&["shards"]).await?), shards["shards"]);
    let operations = cli.json(&["ops"], 0, "operations_list").await?;
    assert_eq!(
        Value::from(cli.lines(&["ops"]).await?),
        operations["operations"]
    );
    let operation = cli.json(&["op", &id], 0, "operation_get_answer").await?;
    assert_eq!(
        Value::from(cli.lines(&["op", &id]).await?),
        Value::from(vec![operation["operation"].clone()])
    );
    Ok(())
}

#[tokio::test]
async fn lists_have_all_pages_and_no_more_operations_than_asked_for() -> TestResult {
    let swarm = Swarm::start().await?;
    let deckies: Vec<String> = (0..620).map(|number| format!("d-{number}")).collect();
    let deckies: Vec<&str> = deckies.iter().map(String::as_str).collect();
    let agent = swarm.agent("worker-a", &deckies).await?;
    for decky in &deckies[..3] {
        swarm.operator.teardown(&agent.host, *decky).await?;
    }
    let cli = Cli::of(&swarm, Role::Viewer)?;
    let shards = cli.json(&["shards"], 0, "shards_list").await?;
    assert_eq!(shards["shards"].as_array().map(Vec::len), Some(620));
    assert_eq!(shards["next"], Value::Null);
    let newest = cli.lines(&["ops", "--limit", "2"]).await?;
    let targets: Vec<_> = newest.iter().map(|one| one["decky_id"].clone()).collect();
    assert_eq!(targets, ["d-2", "d-1"]);
    Ok(())
}

#[tokio::test]
async fn each_kind_of_failure_has_its_exit_code() -> TestResult {
    let mut swarm = Swarm::start().await?;
    swarm.agent("worker-a", &["decky-01"]).await?;
    let cli = Cli::of(&swarm, Role::Operator)?;
    let unknown = "01997c3e-5f1a-7c80-a2f4-0d6a7b5f1c11";
    for (words, code, parts) in [
        (
            &["shards", "nowhere"] as &[&str],
            3,
            &["nowhere", "scuttle hosts"] as &[&str],
        ),
        (&["op", unknown], 3, &[unknown]),
        (&["cancel", unknown], 3, &[unknown]),
        (&["retry", unknown], 3, &[unknown]),
        (
            &["teardown", "worker-a", "--decky", "nope"],
            3,
            &["no decky nope"],
        ),
        (
            &["teardown", "worker-a", "--decky", "nope", "--dry-run"],
            3,
            &["no decky nope"],
        ),
        (
            &["decommission", "worker-a"],
            4,
            &["still has 1 shards", "force"],
        ),
        (&["teardown", "worker-a", "--timeout", "10"], 2, &["10m"]),
        (&["hosts", "-o", "yaml"], 2, &["jsonl"]),
        (&["watch"], 2, &["-o jsonl"]),
        (
            &["hosts", "--nats-url", "nats://127.0.0.1:1"],
            1,
            &["127.0.0.1:1", "start nats-server"],
        ),
        (
            &["hosts", "--nats-password", "wrong"],
            4,
            &["operator may not connect"],
        ),
    ] {
        cli.run(words).await?.failed(code, parts)?;
    }
    let viewer = Cli::of(&swarm, Role::Viewer)?;
    let words = ["teardown", "worker-a", "--decky", "decky-01"];
    viewer
        .run(&words)
        .await?
        .failed(4, &["viewer may not publish", "--nats-creds"])?;
    swarm.controller.kill().await?;
    for words in [&["hosts"] as &[&str], &words] {
        cli.run(words)
            .await?
            .failed(6, &["no controller answers", "scuttle-controller"])?;
    }
    Ok(())
}
