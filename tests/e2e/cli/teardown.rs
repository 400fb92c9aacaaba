//! `scuttle teardown`, `cancel` and `retry`: confirmation, acceptance, and repeated requests.

use anyhow::Context;
use async_nats::HeaderMap;
use futures_util::StreamExt;
use scuttle_schemas::operations::OperationState;
use scuttle_schemas::{headers, subjects};
use scuttle_tests::wait::with_timeout;
use scuttle_tests::{Cluster, Role, TestResult, failed_shard, removed_shard};
use serde_json::{Value, json};

use super::cli_runner::{Cli, check_schema};
use super::fake_controller::{FakeController, online_host};

#[tokio::test]
async fn a_teardown_of_a_whole_host_needs_confirmation_and_can_be_previewed() -> TestResult {
    let cluster = Cluster::start().await?;
    let agent = cluster
        .start_agent("worker-a", &["decky-01", "decky-02"])
        .await?;
    let cli = Cli::with_role(&cluster, Role::Operator)?;
    // Without a terminal, the command cannot ask for confirmation.
    let refused = cli.run(&["teardown", "worker-a"]).await?;
    refused.expect_failure(2, &["worker-a", "--yes", "--decky"])?;
    let shown = cli
        .run(&["teardown", "worker-a", "--dry-run"])
        .await?
        .expect_success()?;
    assert!(
        shown.contains("2 deckies would be torn down") && shown.contains("decky-02"),
        "{shown}"
    );
    let dry = ["teardown", agent.host.as_str(), "--dry-run"];
    let plans = cli.run_json(&dry, 0, "cli/plans").await?;
    assert_eq!(
        plans["plans"][0]["targets"].as_array().map(Vec::len),
        Some(2)
    );
    for line in cli.run_jsonl(&dry).await? {
        check_schema("cli/plan", &line)?;
    }
    assert!(
        cluster.operator.list_operations().await?.is_empty(),
        "nothing was sent"
    );

    let accepted = cli
        .run(&["teardown", "worker-a", "--yes"])
        .await?
        .expect_success()?;
    let operations = cluster.operator.list_operations().await?;
    assert_eq!(operations.len(), 1);
    let id = operations[0].operation_id.to_string();
    assert!(
        accepted.contains("✓ teardown queued") && accepted.contains(&id),
        "{accepted}"
    );
    Ok(())
}

#[tokio::test]
async fn several_deckies_are_several_requests_and_the_worst_result_sets_the_exit_code() -> TestResult
{
    let cluster = Cluster::start().await?;
    cluster
        .start_agent("worker-a", &["decky-01", "decky-02"])
        .await?;
    let cli = Cli::with_role(&cluster, Role::Operator)?;
    let arguments = [
        "teardown",
        "worker-a",
        "--decky",
        "decky-01",
        "--decky",
        "nope",
        "--decky",
        "decky-02",
        "--timeout",
        "2h",
        "--reason",
        "rotating lures",
    ];
    let answer = cli.run_json(&arguments, 3, "cli/teardowns").await?;
    let accepted = |one: &Value| !one["accepted"].is_null();
    let teardowns = answer["teardowns"].as_array().expect("a list");
    assert_eq!(
        teardowns.iter().map(accepted).collect::<Vec<_>>(),
        [true, true, false]
    );
    assert_eq!(teardowns[2]["refused"]["exit_code"], 3);
    for operation in cluster.operator.list_operations().await? {
        assert_eq!(operation.reason.as_deref(), Some("rotating lures"));
        assert_eq!(
            operation.deadline.millis_since(operation.accepted_at),
            7_200_000
        );
    }
    let lines = cli
        .run_jsonl(&["teardown", "worker-a", "--decky", "decky-01"])
        .await?;
    check_schema("cli/teardown", &lines[0])?;
    assert_eq!(lines[0]["accepted"]["repeated"], true);
    Ok(())
}

#[tokio::test]
async fn a_queued_operation_is_cancelled_once() -> TestResult {
    let cluster = Cluster::start().await?;
    let agent = cluster
        .start_agent("worker-a", &["decky-01", "decky-02"])
        .await?;
    let cli = Cli::with_role(&cluster, Role::Operator)?;
    let first = cluster.operator.tear_down(&agent.host, "decky-01").await?;
    let id = first.operation_id.to_string();
    cli.run_json(&["cancel", &id], 0, "cancel_accepted").await?;
    cli.run(&["cancel", &id])
        .await?
        .expect_failure(4, &["cancelled"])?;
    let second = cluster.operator.tear_down(&agent.host, "decky-02").await?;
    let output = cli
        .run(&["cancel", &second.operation_id.to_string()])
        .await?
        .expect_success()?;
    assert!(
        output.contains("– cancelled") && output.contains("decky-02 on worker-a ("),
        "{output}"
    );
    Ok(())
}

#[tokio::test]
async fn a_retry_targets_only_the_failed_deckies() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster
        .start_agent("worker-a", &["decky-01", "decky-02"])
        .await?;
    let cli = Cli::with_role(&cluster, Role::Operator)?;
    let accepted = cluster.operator.tear_down(&agent.host, None).await?;
    let id = accepted.operation_id.to_string();
    cli.run(&["retry", &id])
        .await?
        .expect_failure(4, &["still", &id])?;
    let operation = agent.next_command().await?.operation_id;
    let shards = vec![
        removed_shard("decky-01"),
        failed_shard("decky-02", "container busy"),
    ];
    agent
        .report_failure(operation, "container busy", shards)
        .await?;
    // decky-03 was deployed since. A teardown of the whole host would remove it.
    agent.report_inventory(&["decky-02", "decky-03"]).await?;

    let answer = cli.run_json(&["retry", &id], 0, "cli/teardowns").await?;
    let teardowns = answer["teardowns"].as_array().expect("a list");
    assert_eq!(teardowns.len(), 1);
    assert_eq!(teardowns[0]["decky_id"], "decky-02");
    let retried = agent.next_command().await?;
    assert_eq!(
        retried
            .decky_id
            .as_ref()
            .map(scuttle_schemas::DeckyId::as_str),
        Some("decky-02")
    );
    agent
        .report_failure(
            retried.operation_id,
            "still busy",
            vec![failed_shard("decky-02", "still busy")],
        )
        .await?;

    let again = cli.run(&["retry", &id]).await?;
    assert!(
        again.stderr.contains("Nothing to retry") && again.stderr.contains("--host worker-a"),
        "{again:?}"
    );
    assert_eq!((again.code, again.stdout.as_str()), (0, ""));
    let by_host = ["retry", "--host", "worker-a", "--wait"];
    let (ended, done) = tokio::join!(cli.run(&by_host), async {
        let operation = agent.next_command().await?.operation_id;
        agent.report_success(operation, &["decky-02"]).await
    });
    done?;
    let shown = ended?.expect_success()?;
    assert!(
        shown.contains("✓ succeeded") && shown.contains("1 removed"),
        "{shown}"
    );
    let left = cluster.operator.shard_states(&agent.host).await?;
    assert_eq!(left, "decky-03 running");
    let nothing = cli.run(&["retry", "--host", "worker-a"]).await?;
    assert!(nothing.stderr.contains("Nothing to retry"), "{nothing:?}");
    let all = cluster.operator.list_operations().await?;
    let ended = all
        .iter()
        .filter(|one| one.state == OperationState::Succeeded);
    assert_eq!((all.len(), ended.count()), (3, 1));
    Ok(())
}

/// The list of failed deckies that the operator saw may be out of date when the request arrives.
#[tokio::test]
async fn a_retry_does_not_tear_down_a_new_deployment() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster.start_agent("worker-a", &[]).await?;
    let cli = Cli::with_role(&cluster, Role::Operator)?;
    let deckies = [("decky-01", "first"), ("decky-02", "first")];
    agent.report_deployments(&deckies).await?;
    let accepted = cluster.operator.tear_down(&agent.host, None).await?;
    let id = accepted.operation_id.to_string();
    let shards = vec![
        failed_shard("decky-01", "container busy"),
        failed_shard("decky-02", "container busy"),
    ];
    let operation = agent.next_command().await?.operation_id;
    agent
        .report_failure(operation, "container busy", shards)
        .await?;
    agent
        .report_deployments(&[("decky-01", "second"), ("decky-02", "first")])
        .await?;
    let answer = cli.run_json(&["retry", &id], 0, "cli/teardowns").await?;
    let teardowns = answer["teardowns"].as_array().expect("a list");
    assert_eq!(teardowns.len(), 1);
    assert_eq!(teardowns[0]["decky_id"], "decky-02");
    let states = cluster.operator.shard_states(&agent.host).await?;
    assert_eq!(states, "decky-01 running, decky-02 tearing_down");
    Ok(())
}

#[tokio::test]
async fn the_option_override_protection_is_in_the_command() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster.start_agent("worker-a", &["decky-01"]).await?;
    let cli = Cli::with_role(&cluster, Role::Operator)?;
    let arguments = ["teardown", "worker-a", "--yes", "--override-protection"];
    cli.run(&arguments).await?.expect_success()?;
    assert!(agent.next_command().await?.override_protection);
    Ok(())
}

#[tokio::test]
async fn a_request_without_a_valid_reply_is_repeated_with_the_same_key() -> TestResult {
    let mut fake = FakeController::start(Role::Operator, subjects::ALL_REQUESTS).await?;
    let (cli, controller, requests) = (&fake.cli, fake.client.nats(), &mut fake.requests);

    let at = "2026-11-23T09:11:49.000Z";
    let host = online_host("worker-a");
    let accepted = json!({
        "accepted": true, "detail": "teardown queued", "operation_id": "01997c3e-5f1a-7c80-a2f4-0d6a7b5f1c11",
        "host_uuid": "worker-a", "host_name": "worker-a", "decky_id": "decky-01", "shards": 1, "deadline": at, "repeated": false,
    });
    let answers = [
        (
            subjects::HOSTS_LIST,
            json!({ "revision": 1, "hosts": [host], "next": null }),
        ),
        (subjects::TEARDOWN, json!("no answer at all")),
        (subjects::TEARDOWN, accepted),
    ];
    let mut keys = Vec::new();
    let replied = async {
        for (subject, answer) in answers {
            let request = with_timeout(subject, requests.next())
                .await?
                .context("a request")?;
            assert_eq!(request.subject.as_str(), subject);
            let key = request
                .headers
                .as_ref()
                .and_then(|all| all.get(headers::MSG_ID));
            keys.extend(key.map(ToString::to_string));
            let reply = request.reply.context("a place for the answer")?;
            controller.publish(reply, answer.to_string().into()).await?;
        }
        anyhow::Ok(())
    };
    let arguments = ["teardown", "worker-a", "--decky", "decky-01"];
    let (ended, replied) = tokio::join!(cli.run_json(&arguments, 0, "cli/teardowns"), replied);
    replied?;
    assert_eq!(ended?["teardowns"][0]["accepted"]["accepted"], true);
    assert_eq!(keys.len(), 2);
    assert_eq!(keys[0], keys[1]);
    Ok(())
}

/// The controller asks for a delay of a day, which would look like a command that hangs.
#[tokio::test]
async fn a_command_gives_up_at_once_when_the_controller_asks_for_a_long_delay() -> TestResult {
    let mut fake = FakeController::start(Role::Operator, subjects::ALL_REQUESTS).await?;
    let (cli, controller, requests) = (&fake.cli, fake.client.nats(), &mut fake.requests);

    let host = online_host("worker-a");
    let hosts = json!({ "revision": 1, "hosts": [host], "next": null });
    let overloaded = json!({ "accepted": false, "error": {
        "code": "overloaded", "message": "no more keys", "retry_after_ms": 86_000_000 } });
    let served = async {
        let mut teardowns = 0;
        while let Some(request) = requests.next().await {
            let reply = request.reply.context("a place for the answer")?;
            if request.subject.as_str() == subjects::TEARDOWN {
                teardowns += 1;
                let mut error = HeaderMap::new();
                error.insert(headers::SERVICE_ERROR_CODE, "429");
                let payload = overloaded.to_string().into();
                controller
                    .publish_with_headers(reply, error, payload)
                    .await?;
            } else {
                let payload = hosts.to_string().into();
                controller.publish(reply, payload).await?;
            }
            assert!(teardowns <= 1, "the request is sent once");
        }
        anyhow::Ok(())
    };
    let arguments = ["teardown", "worker-a", "--decky", "decky-01"];
    tokio::select! {
        output = cli.run(&arguments) => {
            output?.expect_failure(4, &["no more keys", "try again in 24 hours"])?;
        }
        served = served => served?,
    }
    Ok(())
}
