//! The audit log: one line for each request to change something, with the requester and the
//! outcome, and no lines for anything else. Each line is written before the reply to its request is
//! sent.

use async_nats::HeaderMap;
use scuttle_schemas::agents::ProgressStep;
use scuttle_schemas::operations::OperationState;
use scuttle_schemas::{ErrorCode, HostId, OperationId, headers, subjects};
use scuttle_tests::programs::controller::{log_path, parse_audit_log};
use scuttle_tests::programs::process::Process;
use scuttle_tests::{
    Client, Cluster, Controller, ExpectRejection, Nats, Role, TestResult, wait_until,
};
use serde_json::{Value, json};

/// A reader of the audit log. The field is the number of lines that it has read.
struct Reader(usize);

impl Reader {
    /// Returns the only line that was written since the last call. Fails if there is not exactly
    /// one.
    fn next_line(&mut self, cluster: &Cluster) -> anyhow::Result<Value> {
        let lines = cluster.controllers[0].read_audit_log()?;
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

    /// Returns the only line that was written since the last call, and checks that it records this
    /// rejection.
    fn next_rejection(
        &mut self,
        cluster: &Cluster,
        action: &str,
        code: ErrorCode,
    ) -> anyhow::Result<Value> {
        let line = self.next_line(cluster)?;
        assert_eq!(line["action"], action, "{line}");
        assert_eq!(line["outcome"], "rejected", "{line}");
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

/// Checks that a line equals `expected`, except for its time.
fn check(line: &Value, expected: &Value) {
    let mut line = line.clone();
    let fields = line.as_object_mut().expect("an object");
    fields.remove("time");
    assert_eq!(line, *expected);
}

/// Sends requests that change nothing: every list, one operation, and a dry run.
async fn request_reads(
    cluster: &Cluster,
    host: &HostId,
    operation: OperationId,
) -> anyhow::Result<()> {
    let operator = &cluster.operator;
    operator.list_shards().await?;
    operator.list_hosts().await?;
    operator.list_operations().await?;
    operator.operation(operation).await?;
    let plan = json!({ "host_uuid": host, "dry_run": true });
    let _: Value = operator.request(subjects::TEARDOWN, &plan).await?;
    Ok(())
}

#[tokio::test]
async fn each_accepted_change_has_one_line() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut log = Reader(0);
    let mut agent = cluster
        .start_agent("worker-a", &["decky-1", "decky-2"])
        .await?;
    let host = agent.host.clone();
    let line = |action, message: Value, repeated, operation: Value, decky: Value, reason: Value| {
        json!({ "target": "audit", "who": "operator", "action": action, "outcome": "accepted", "code": null,
            "message": message, "repeated": repeated, "operation_id": operation, "host_uuid": host,
            "decky_id": decky, "reason": reason })
    };
    let (nothing, queued) = (Value::Null, json!("teardown queued"));
    check(
        &log.next_line(&cluster)?,
        &line(
            "hosts-enroll",
            nothing.clone(),
            false,
            nothing.clone(),
            nothing.clone(),
            nothing.clone(),
        ),
    );

    let request = json!({ "host_uuid": host, "decky_id": "decky-1", "reason": "rotating lures" });
    let accepted: Value = cluster
        .operator
        .request(subjects::TEARDOWN, &request)
        .await?;
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
    check(
        &log.next_line(&cluster)?,
        &expected("teardown queued", false),
    );
    let _: Value = cluster
        .operator
        .request(subjects::TEARDOWN, &request)
        .await?;
    check(
        &log.next_line(&cluster)?,
        &expected("teardown already in progress", true),
    );

    let host_teardown = cluster.operator.tear_down(&host, None).await?;
    let operation = json!(host_teardown.operation_id);
    check(
        &log.next_line(&cluster)?,
        &line(
            "teardown",
            queued,
            false,
            operation.clone(),
            nothing.clone(),
            nothing.clone(),
        ),
    );
    let cancel = json!({ "operation_id": host_teardown.operation_id });
    let _: Value = cluster
        .operator
        .request(subjects::OPERATIONS_CANCEL, &cancel)
        .await?;
    check(
        &log.next_line(&cluster)?,
        &line(
            "operations-cancel",
            nothing.clone(),
            false,
            operation,
            nothing.clone(),
            nothing.clone(),
        ),
    );

    // Reports of agents and reads are not changes, so they have no lines.
    agent.send_heartbeat().await?;
    request_reads(&cluster, &host, host_teardown.operation_id).await?;

    let force = json!({ "host_uuid": host, "force": true });
    let reply: Value = cluster
        .operator
        .request(subjects::HOSTS_DECOMMISSION, &force)
        .await?;
    let detail = reply["detail"].clone();
    check(
        &log.next_line(&cluster)?,
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
async fn the_update_of_a_host_has_one_line() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut log = Reader(0);
    let host = cluster.enroll_host("worker-a").await?;
    log.next_line(&cluster)?;
    let update = json!({ "host_uuid": host, "labels": { "rack": "8" } });
    let _: Value = cluster
        .operator
        .request(subjects::HOSTS_UPDATE, &update)
        .await?;
    let line = log.next_line(&cluster)?;
    assert_eq!(line["action"], "hosts-update", "{line}");
    assert_eq!(line["outcome"], "accepted", "{line}");
    assert_eq!(line["host_uuid"], host.as_str(), "{line}");
    Ok(())
}

#[tokio::test]
async fn the_log_shows_who_protects_and_who_overrides_a_protection() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut log = Reader(0);
    let agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let host = &agent.host;
    log.next_line(&cluster)?;
    for (decky, protected, message) in [
        (Some("decky-1"), true, "protected"),
        (None, true, "protected"),
        (
            Some("decky-1"),
            false,
            "protection lifted; its label or its host still protects it",
        ),
        (None, false, "protection lifted"),
        (Some("decky-1"), true, "protected"),
    ] {
        let request = json!({ "host_uuid": host, "decky_id": decky, "protected": protected,
            "reason": "case 7" });
        let _: Value = cluster
            .operator
            .request(subjects::SHARDS_PROTECT, &request)
            .await?;
        check(
            &log.next_line(&cluster)?,
            &json!({ "target": "audit", "who": "operator", "action": "shards-protect",
                "outcome": "accepted", "code": null, "message": message, "repeated": false,
                "operation_id": null, "host_uuid": host, "decky_id": decky, "reason": "case 7" }),
        );
    }
    for (override_it, outcome) in [(false, "rejected"), (true, "accepted")] {
        let request = json!({ "host_uuid": host, "override_protection": override_it });
        let _ = cluster
            .operator
            .request::<Value>(subjects::TEARDOWN, &request)
            .await;
        let line = log.next_line(&cluster)?;
        assert_eq!(line["outcome"], outcome, "{line}");
        let code = (!override_it).then_some(ErrorCode::Protected);
        assert_eq!(line["code"], json!(code), "{line}");
        let shown = line.get("override_protection").is_some();
        assert_eq!(shown, override_it, "{line}");
    }
    Ok(())
}

#[tokio::test]
async fn each_rejected_change_has_one_line_with_its_code() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut log = Reader(0);
    let agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    log.next_line(&cluster)?;
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
            subjects::HOSTS_UPDATE,
            "hosts-update",
            json!({ "host_uuid": "missing", "name": "b" }),
            ErrorCode::HostNotFound,
        ),
        (
            subjects::HOSTS_DECOMMISSION,
            "hosts-decommission",
            json!({ "host_uuid": host }),
            ErrorCode::BadRequest,
        ),
        (
            subjects::SHARDS_PROTECT,
            "shards-protect",
            json!({ "host_uuid": host, "decky_id": "decky-9", "protected": true }),
            ErrorCode::ShardNotFound,
        ),
    ] {
        assert_eq!(
            request_rejected(&cluster.operator, subject, &request).await,
            code,
            "{request}"
        );
        let line = log.next_rejection(&cluster, action, code)?;
        // The fields that could be parsed are in the line.
        if code != ErrorCode::BadRequest {
            assert_eq!(line["host_uuid"], request["host_uuid"], "{line}");
            assert_eq!(line["decky_id"], request["decky_id"], "{line}");
            assert_eq!(line["operation_id"], request["operation_id"], "{line}");
        }
    }

    Ok(())
}

/// Sends a request that must be rejected, and returns the error code.
async fn request_rejected(operator: &Client, subject: &str, request: &Value) -> ErrorCode {
    operator
        .request::<Value>(subject, request)
        .await
        .expect_rejection()
        .code
}

#[tokio::test]
async fn each_conflicting_change_has_one_line_with_its_code() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut log = Reader(0);
    let agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    log.next_line(&cluster)?;
    let (host, operator) = (&agent.host, &cluster.operator);
    let mut key = HeaderMap::new();
    key.insert(headers::MSG_ID, "once");
    let request = json!({ "host_uuid": host, "decky_id": "decky-1" });
    let accepted: Value = operator
        .request_with_headers(subjects::TEARDOWN, key.clone(), &request)
        .await?;
    assert_eq!(log.next_line(&cluster)?["repeated"], false);
    let _: Value = operator
        .request_with_headers(subjects::TEARDOWN, key.clone(), &request)
        .await?;
    assert_eq!(log.next_line(&cluster)?["repeated"], true);
    let other = json!({ "host_uuid": host });
    let conflict = operator
        .request_with_headers::<Value>(subjects::TEARDOWN, key, &other)
        .await;
    assert_eq!(
        conflict.expect_rejection().code,
        ErrorCode::IdempotencyConflict
    );
    log.next_rejection(&cluster, "teardown", ErrorCode::IdempotencyConflict)?;

    let id = serde_json::from_value(accepted["operation_id"].clone())?;
    agent.publish_progress(id, ProgressStep::Started).await?;
    let running = |operation: &scuttle_schemas::operations::OperationRecord| {
        operation.state == OperationState::Running
    };
    wait_until(
        "the operation is running",
        || operator.operation(id),
        running,
    )
    .await?;
    let cancel = json!({ "operation_id": id });
    assert_eq!(
        request_rejected(operator, subjects::OPERATIONS_CANCEL, &cancel).await,
        ErrorCode::NotCancellable
    );
    log.next_rejection(&cluster, "operations-cancel", ErrorCode::NotCancellable)?;

    let force = json!({ "host_uuid": host, "force": true });
    let _: Value = operator
        .request(subjects::HOSTS_DECOMMISSION, &force)
        .await?;
    log.next_line(&cluster)?;
    assert_eq!(
        request_rejected(operator, subjects::TEARDOWN, &other).await,
        ErrorCode::HostDecommissioned
    );
    log.next_rejection(&cluster, "teardown", ErrorCode::HostDecommissioned)?;
    Ok(())
}

/// Requesters choose some of the text in a line, but cannot break the line.
#[tokio::test]
async fn no_requested_text_breaks_its_line() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut log = Reader(0);
    let agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    log.next_line(&cluster)?;
    for reason in [
        "\n{\"target\":\"audit\"}\n",
        "\r\u{0}\u{1b}[31m\u{7f}\"\\",
        "\u{85}\u{2028}\u{2029}ä漢🦀",
    ] {
        let request = json!({ "host_uuid": agent.host, "decky_id": "decky-1", "reason": reason });
        let _: Value = cluster
            .operator
            .request(subjects::TEARDOWN, &request)
            .await?;
        assert_eq!(log.next_line(&cluster)?["reason"], reason);
    }
    for decky in ["a\nb", "\u{1b}", "x".repeat(100_000).as_str()] {
        let request = json!({ "host_uuid": agent.host, "decky_id": decky });
        cluster
            .operator
            .request::<Value>(subjects::TEARDOWN, &request)
            .await
            .expect_rejection();
        let line = log.next_rejection(&cluster, "teardown", ErrorCode::BadRequest)?;
        assert!(line.to_string().len() < 2000, "{line}");
    }
    // The request has no reply subject: the change is made, and has its line.
    let request = json!({ "name": "worker-b" }).to_string();
    cluster
        .operator
        .nats()
        .publish(subjects::HOSTS_ENROLL, request.into())
        .await?;
    wait_until(
        "it is enrolled",
        || cluster.operator.list_hosts(),
        |hosts| hosts.len() == 2,
    )
    .await?;
    assert_eq!(log.next_line(&cluster)?["action"], "hosts-enroll");
    Ok(())
}

/// Starts a server, and a controller with these additional arguments. Returns the server, the
/// directory of the controller, its process, and an operator's connection.
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
    let controller = Process::spawn(
        "the controller",
        command,
        &log_path(&dir.path().join("data")),
    )?;
    let operator = Client::connect(&nats, Role::Operator).await?;
    Ok((nats, dir, controller, operator))
}

#[tokio::test]
async fn the_audit_log_is_on_standard_output_unless_a_file_is_configured() -> TestResult {
    let (_nats, _dir, controller, operator) = start(&[]).await?;
    operator.wait_until_ready().await?;
    operator.enroll("worker-a").await?;
    // The harness writes both outputs to one file. The event log has no such lines.
    let log = controller.log();
    let lines: String = log
        .split_inclusive('\n')
        .filter(|line| line.starts_with('{'))
        .collect();
    assert_eq!(parse_audit_log(&lines)?.len(), 1, "{log}");
    assert_eq!(log.matches("hosts-enroll").count(), 1, "{log}");
    Ok(())
}

#[tokio::test]
async fn the_audit_file_is_private_appended_to_and_reopened_on_sighup() -> TestResult {
    use std::os::unix::fs::PermissionsExt;
    let (_nats, dir, mut controller, operator) = start(&["--audit-log", "audit.log"]).await?;
    operator.wait_until_ready().await?;
    let path = dir.path().join("audit.log");
    let mode = std::fs::metadata(&path)?.permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    operator.enroll("worker-a").await?;
    let rotated = dir.path().join("audit.log.1");
    std::fs::rename(&path, &rotated)?;
    operator.enroll("worker-b").await?;
    controller.send_signal("HUP").await?;
    controller.wait_for_line("reopened the audit log").await?;
    operator.enroll("worker-c").await?;
    assert_eq!(
        parse_audit_log(&std::fs::read_to_string(&rotated)?)?.len(),
        2
    );
    assert_eq!(parse_audit_log(&std::fs::read_to_string(&path)?)?.len(), 1);
    Ok(())
}

/// The operations are the authoritative record, so a full disk may lose audit lines but must not
/// stop the service.
#[tokio::test]
async fn a_full_disk_is_logged_once_and_does_not_stop_the_service() -> TestResult {
    let (_nats, _dir, mut controller, operator) = start(&["--audit-log", "/dev/full"]).await?;
    operator.wait_until_ready().await?;
    for name in ["worker-a", "worker-b", "worker-c"] {
        operator.enroll(name).await?;
    }
    controller.send_signal("TERM").await?;
    assert!(controller.wait_for_exit().await?.success());
    let log = controller.log();
    assert_eq!(log.matches("No space left").count(), 1, "{log}");
    assert!(log.contains("audit-log: 3 not written"), "{log}");
    Ok(())
}

#[tokio::test]
async fn an_audit_file_that_cannot_be_written_ends_the_start_with_an_error() -> TestResult {
    let (_nats, _dir, mut controller, _operator) = start(&["--audit-log", "no/such/place"]).await?;
    assert_eq!(controller.wait_for_exit().await?.code(), Some(2));
    let log = controller.log();
    assert!(
        log.contains("no/such/place") && log.contains("--audit-log"),
        "{log}"
    );
    Ok(())
}
