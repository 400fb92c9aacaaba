//! The audit log: one line for each request that would change something, with who asked and what became of it, and
//! none for anything else. Each line is there before its answer.

use async_nats::HeaderMap;
use scuttle_schemas::agents::ProgressStep;
use scuttle_schemas::operations::OperationState;
use scuttle_schemas::{ErrorCode, headers, subjects};
use scuttle_tests::programs::controller::{log_of, read_audit};
use scuttle_tests::programs::process::Process;
use scuttle_tests::{Client, Controller, Nats, Outcome, Role, Swarm, TestResult, until};
use serde_json::{Value, json};

/// The lines since the last look.
struct Reader(usize);

impl Reader {
    /// The one line that was written since.
    fn one(&mut self, swarm: &Swarm) -> anyhow::Result<Value> {
        let lines = swarm.controller.audit()?;
        anyhow::ensure!(
            lines.len() == self.0 + 1,
            "{} lines: {lines:?}",
            lines.len()
        );
        self.0 += 1;
        let line = &lines[self.0 - 1];
        let time = line["time"].as_str().unwrap_or_default();
        assert!(time.len() == 24 && time.ends_with('Z'), "{line}");
        assert_eq!(line["who"], "operator", "{line}");
        Ok(line.clone())
    }

    /// The one line that was written since, which says that this was refused.
    fn refused(&mut self, swarm: &Swarm, action: &str, code: ErrorCode) -> anyhow::Result<Value> {
        let line = self.one(swarm)?;
        assert_eq!(line["action"], action, "{line}");
        assert_eq!(line["outcome"], "refused", "{line}");
        assert_eq!(line["code"], json!(code), "{line}");
        assert_eq!(line["repeated"], false, "{line}");
        assert!(
            line["message"]
                .as_str()
                .is_some_and(|text| !text.is_empty()),
            "{line}"
        );
        Ok(line)
    }
}

/// Compares all that is in a line but its time.
fn check(line: &Value, expected: &Value) {
    let mut line = line.clone();
    let fields = line.as_object_mut().expect("an object");
    fields.remove("time");
    assert_eq!(line, *expected);
}

#[tokio::test]
async fn what_is_accepted_has_one_line() -> TestResult {
    let swarm = Swarm::start().await?;
    let mut log = Reader(0);
    let mut agent = swarm.agent("worker-a", &["decky-1", "decky-2"]).await?;
    let host = agent.host.clone();
    let line = |action, message: Value, repeated, operation: Value, decky: Value, reason: Value| {
        json!({ "target": "audit", "who": "operator", "action": action, "outcome": "accepted", "code": null,
            "message": message, "repeated": repeated, "operation_id": operation, "host_uuid": host,
            "decky_id": decky, "reason": reason })
    };
    let (nothing, queued) = (Value::Null, json!("teardown queued"));
    check(
        &log.one(&swarm)?,
        &line(
            "hosts-enroll",
            nothing.clone(),
            false,
            nothing.clone(),
            nothing.clone(),
            nothing.clone(),
        ),
    );

    let ask = json!({ "host_uuid": host, "decky_id": "decky-1", "reason": "rotating lures" });
    let accepted: Value = swarm.operator.ask(subjects::TEARDOWN, &ask).await?;
    let operation = &accepted["operation_id"];
    let expected = |message: &str, repeated| {
        line(
            "teardown",
            json!(message),
            repeated,
            operation.clone(),
            json!("decky-1"),
            json!("rotating lures"),
        )
    };
    check(&log.one(&swarm)?, &expected("teardown queued", false));
    let _: Value = swarm.operator.ask(subjects::TEARDOWN, &ask).await?;
    check(
        &log.one(&swarm)?,
        &expected("teardown already in progress", true),
    );

    let whole = swarm.operator.teardown(&host, None).await?;
    let operation = json!(whole.operation_id);
    check(
        &log.one(&swarm)?,
        &line(
            "teardown",
            queued,
            false,
            operation.clone(),
            nothing.clone(),
            nothing.clone(),
        ),
    );
    let cancel = json!({ "operation_id": whole.operation_id });
    let _: Value = swarm
        .operator
        .ask(subjects::OPERATIONS_CANCEL, &cancel)
        .await?;
    check(
        &log.one(&swarm)?,
        &line(
            "operations-cancel",
            nothing.clone(),
            false,
            operation,
            nothing.clone(),
            nothing.clone(),
        ),
    );

    // An agent's reports and the lists are no changes.
    agent.beat().await?;
    swarm.operator.shards().await?;
    swarm.operator.hosts().await?;
    swarm.operator.operations().await?;
    swarm.operator.operation(whole.operation_id).await?;
    let plan = json!({ "host_uuid": host, "dry_run": true });
    let _: Value = swarm.operator.ask(subjects::TEARDOWN, &plan).await?;

    let force = json!({ "host_uuid": host, "force": true });
    let answer: Value = swarm
        .operator
        .ask(subjects::HOSTS_DECOMMISSION, &force)
        .await?;
    let detail = answer["detail"].clone();
    check(
        &log.one(&swarm)?,
        &line(
            "hosts-decommission",
            detail,
            false,
            nothing.clone(),
            nothing.clone(),
            nothing,
        ),
    );
    Ok(())
}

#[tokio::test]
async fn what_is_refused_has_one_line_with_its_code() -> TestResult {
    let swarm = Swarm::start().await?;
    let mut log = Reader(0);
    let agent = swarm.agent("worker-a", &["decky-1"]).await?;
    log.one(&swarm)?;
    let host = &agent.host;

    let unknown = json!({ "operation_id": "0197a1b2-0000-7000-8000-000000000000" });
    for (subject, action, request, code) in [
        (
            subjects::TEARDOWN,
            "teardown",
            json!({ "host_uuid": host, "decky": "decky-1" }),
            ErrorCode::BadRequest,
        ),
        (
            subjects::TEARDOWN,
            "teardown",
            json!({ "host_uuid": host, "decky_id": "a\nb" }),
            ErrorCode::BadRequest,
        ),
        (
            subjects::TEARDOWN,
            "teardown",
            json!({ "host_uuid": "nobody" }),
            ErrorCode::HostNotFound,
        ),
        (
            subjects::TEARDOWN,
            "teardown",
            json!({ "host_uuid": host, "decky_id": "decky-9" }),
            ErrorCode::ShardNotFound,
        ),
        (
            subjects::TEARDOWN,
            "teardown",
            json!({ "host_uuid": host, "expect_plan": "x" }),
            ErrorCode::PlanChanged,
        ),
        (
            subjects::OPERATIONS_CANCEL,
            "operations-cancel",
            unknown,
            ErrorCode::OperationNotFound,
        ),
        (
            subjects::HOSTS_ENROLL,
            "hosts-enroll",
            json!({ "name": "worker-a", "host_uuid": "other" }),
            ErrorCode::BadRequest,
        ),
        (
            subjects::HOSTS_DECOMMISSION,
            "hosts-decommission",
            json!({ "host_uuid": host }),
            ErrorCode::BadRequest,
        ),
    ] {
        assert_eq!(
            refusal(&swarm.operator, subject, &request).await,
            code,
            "{request}"
        );
        let line = log.refused(&swarm, action, code)?;
        // What could be read is there.
        if code != ErrorCode::BadRequest {
            assert_eq!(line["host_uuid"], request["host_uuid"], "{line}");
            assert_eq!(line["decky_id"], request["decky_id"], "{line}");
            assert_eq!(line["operation_id"], request["operation_id"], "{line}");
        }
    }

    Ok(())
}

/// Answers an operator's request with the code of its refusal.
async fn refusal(operator: &Client, subject: &str, request: &Value) -> ErrorCode {
    operator.ask::<Value>(subject, request).await.refused().code
}

#[tokio::test]
async fn what_no_longer_fits_has_one_line_with_its_code() -> TestResult {
    let swarm = Swarm::start().await?;
    let mut log = Reader(0);
    let agent = swarm.agent("worker-a", &["decky-1"]).await?;
    log.one(&swarm)?;
    let (host, operator) = (&agent.host, &swarm.operator);
    let mut key = HeaderMap::new();
    key.insert(headers::MSG_ID, "once");
    let request = json!({ "host_uuid": host, "decky_id": "decky-1" });
    let accepted: Value = operator
        .ask_with(subjects::TEARDOWN, key.clone(), &request)
        .await?;
    assert_eq!(log.one(&swarm)?["repeated"], false);
    let _: Value = operator
        .ask_with(subjects::TEARDOWN, key.clone(), &request)
        .await?;
    assert_eq!(log.one(&swarm)?["repeated"], true);
    let other = json!({ "host_uuid": host });
    let conflict = operator
        .ask_with::<Value>(subjects::TEARDOWN, key, &other)
        .await;
    assert_eq!(conflict.refused().code, ErrorCode::IdempotencyConflict);
    log.refused(&swarm, "teardown", ErrorCode::IdempotencyConflict)?;

    let id = serde_json::from_value(accepted["operation_id"].clone())?;
    agent.progress(id, ProgressStep::Started).await?;
    let running = |operation: &scuttle_schemas::operations::OperationRecord| {
        operation.state == OperationState::Running
    };
    until("it runs", || operator.operation(id), running).await?;
    let cancel = json!({ "operation_id": id });
    assert_eq!(
        refusal(operator, subjects::OPERATIONS_CANCEL, &cancel).await,
        ErrorCode::NotCancellable
    );
    log.refused(&swarm, "operations-cancel", ErrorCode::NotCancellable)?;

    let force = json!({ "host_uuid": host, "force": true });
    let _: Value = operator.ask(subjects::HOSTS_DECOMMISSION, &force).await?;
    log.one(&swarm)?;
    assert_eq!(
        refusal(operator, subjects::TEARDOWN, &other).await,
        ErrorCode::HostDecommissioned
    );
    log.refused(&swarm, "teardown", ErrorCode::HostDecommissioned)?;
    Ok(())
}

/// Others choose the words; they stay inside their line.
#[tokio::test]
async fn no_text_breaks_its_line() -> TestResult {
    let swarm = Swarm::start().await?;
    let mut log = Reader(0);
    let agent = swarm.agent("worker-a", &["decky-1"]).await?;
    log.one(&swarm)?;
    for reason in [
        "\n{\"target\":\"audit\"}\n",
        "\r\u{0}\u{1b}[31m\u{7f}\"\\",
        "\u{85}\u{2028}\u{2029}ä漢🦀",
    ] {
        let request = json!({ "host_uuid": agent.host, "decky_id": "decky-1", "reason": reason });
        let _: Value = swarm.operator.ask(subjects::TEARDOWN, &request).await?;
        assert_eq!(log.one(&swarm)?["reason"], reason);
    }
    for decky in ["a\nb", "\u{1b}", "x".repeat(100_000).as_str()] {
        let request = json!({ "host_uuid": agent.host, "decky_id": decky });
        swarm
            .operator
            .ask::<Value>(subjects::TEARDOWN, &request)
            .await
            .refused();
        let line = log.refused(&swarm, "teardown", ErrorCode::BadRequest)?;
        assert!(line.to_string().len() < 2000, "{line}");
    }
    // Nobody waits for the answer: the change is made, and has its line.
    let request = json!({ "name": "worker-b" }).to_string();
    swarm
        .operator
        .nats()
        .publish(subjects::HOSTS_ENROLL, request.into())
        .await?;
    until(
        "it is enrolled",
        || swarm.operator.hosts(),
        |hosts| hosts.len() == 2,
    )
    .await?;
    assert_eq!(log.one(&swarm)?["action"], "hosts-enroll");
    Ok(())
}

/// A controller with arguments of its own.
async fn start(arguments: &[&str]) -> anyhow::Result<(Nats, tempfile::TempDir, Process, Client)> {
    let nats = Nats::start().await?;
    let dir = tempfile::tempdir()?;
    let mut command = Controller::command();
    command
        .args(["--nats-url", &nats.url(), "--data-dir"])
        .arg(dir.path().join("data"));
    command
        .args(arguments)
        .envs(nats.environment(Role::Controller))
        .current_dir(dir.path());
    let controller = Process::spawn("the controller", command, &log_of(&dir.path().join("data")))?;
    let operator = Client::connect(&nats, Role::Operator).await?;
    Ok((nats, dir, controller, operator))
}

#[tokio::test]
async fn it_is_on_standard_output_unless_a_file_is_named() -> TestResult {
    let (_nats, _dir, controller, operator) = start(&[]).await?;
    operator.answered().await?;
    operator.enroll("worker-a").await?;
    // The harness has both outputs in one file; the log for people has no such lines.
    let log = controller.log();
    let lines: String = log
        .split_inclusive('\n')
        .filter(|line| line.starts_with('{'))
        .collect();
    assert_eq!(read_audit(&lines)?.len(), 1, "{log}");
    assert_eq!(log.matches("hosts-enroll").count(), 1, "{log}");
    Ok(())
}

#[tokio::test]
async fn a_file_is_private_appended_to_and_opened_anew() -> TestResult {
    use std::os::unix::fs::PermissionsExt;
    let (_nats, dir, mut controller, operator) = start(&["--audit-log", "audit.log"]).await?;
    operator.answered().await?;
    let path = dir.path().join("audit.log");
    let mode = std::fs::metadata(&path)?.permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    operator.enroll("worker-a").await?;
    let rotated = dir.path().join("audit.log.1");
    std::fs::rename(&path, &rotated)?;
    operator.enroll("worker-b").await?;
    controller.signal("HUP").await?;
    controller.line("reopened the audit log").await?;
    operator.enroll("worker-c").await?;
    assert_eq!(read_audit(&std::fs::read_to_string(&rotated)?)?.len(), 2);
    assert_eq!(read_audit(&std::fs::read_to_string(&path)?)?.len(), 1);
    Ok(())
}

/// The record is the operation: a full disk takes lines, not the service.
#[tokio::test]
async fn a_full_disk_is_told_once_and_does_not_stop_the_service() -> TestResult {
    let (_nats, _dir, mut controller, operator) = start(&["--audit-log", "/dev/full"]).await?;
    operator.answered().await?;
    for name in ["worker-a", "worker-b", "worker-c"] {
        operator.enroll(name).await?;
    }
    controller.signal("TERM").await?;
    assert!(controller.exit().await?.success());
    let log = controller.log();
    assert_eq!(log.matches("No space left").count(), 1, "{log}");
    assert!(log.contains("audit-log: 3 not written"), "{log}");
    Ok(())
}

#[tokio::test]
async fn a_file_that_cannot_be_written_is_refused_at_the_start() -> TestResult {
    let (_nats, _dir, mut controller, _operator) = start(&["--audit-log", "no/such/place"]).await?;
    assert_eq!(controller.exit().await?.code(), Some(2));
    let log = controller.log();
    assert!(
        log.contains("no/such/place") && log.contains("--audit-log"),
        "{log}"
    );
    Ok(())
}
