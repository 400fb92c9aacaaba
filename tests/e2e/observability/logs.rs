//! The event log in JSON: each line is an object, and a line about an operation or a host has its
//! ids as fields.

use scuttle_schemas::operations::OperationState;
use scuttle_tests::programs::process::Process;
use scuttle_tests::{Cluster, TestResult};
use serde_json::Value;

const JSON: (&str, &str) = ("SCUTTLE_LOG_FORMAT", "json");

/// Parses the lines of a log that are JSON objects. Skips other lines, such as the simulator's
/// summary.
fn parse_lines(process: &Process) -> anyhow::Result<Vec<Value>> {
    let log = process.log();
    let objects = log.lines().filter(|line| line.starts_with('{'));
    Ok(objects
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?)
}

/// Finds the last line that has this message and the field `ids[0]`, then asserts that the line has
/// the given level and every field in `ids`.
fn check(lines: &[Value], message: &str, level: &str, ids: &[(&str, &str)]) {
    let (name, id) = ids[0];
    let line = lines
        .iter()
        .rfind(|line| line["message"] == message && line[name] == id);
    let line = line.unwrap_or_else(|| panic!("no {message:?} of {id} in {lines:#?}"));
    assert_eq!(line["level"], level, "{line}");
    for (name, id) in ids {
        assert_eq!(line[*name], **id, "{line}");
    }
}

/// Checks each line that contains one of the ids: the id must be the value of the field with the
/// id's name.
fn check_ids_are_fields(lines: &[Value], ids: &[(&str, &str)]) {
    for line in lines {
        let text = line.to_string();
        for (name, id) in ids {
            assert!(!text.contains(id) || line[*name] == **id, "{line}");
        }
    }
}

#[tokio::test]
async fn every_line_about_an_operation_or_a_host_has_its_ids_as_fields() -> TestResult {
    let log = (
        "SCUTTLE_LOG",
        "info,scuttle_controller=debug,async_nats=off",
    );
    let mut cluster = Cluster::builder().settings(&[JSON, log]).start().await?;
    let arguments = [
        "--hosts=1",
        "--deckies-per-host=2",
        "--enroll",
        "--teardown-ms=20",
        "--heartbeat-ms=100",
        "--fail-rate=1",
    ];
    let dir = cluster.path("sim");
    let mut sim = cluster
        .start_simulator_with(&dir, &arguments, &[JSON, log])
        .await?;
    let host = "sim-0001";
    let host_uuid = host.parse()?;
    // The first teardown of a decky fails, because of the simulator's arguments.
    let mut operations = Vec::new();
    for expected in [OperationState::Failed, OperationState::Succeeded] {
        let accepted = cluster.operator.tear_down(&host_uuid, "decky-01").await?;
        let ended = cluster.operator.wait_for_end(accepted.operation_id).await?;
        assert_eq!(ended.state, expected);
        operations.push(accepted.operation_id.to_string());
    }
    let agentless = cluster.enroll_host("no-agent").await?;
    let late = cluster
        .operator
        .tear_down_within(1, &agentless, None)
        .await?;
    let late = late.operation_id;
    cluster.operator.wait_for_end(late).await?;
    let (late, agentless) = (late.to_string(), agentless.to_string());

    let last = &operations[1];
    let recorded = format!(r#""result recorded","operation_id":"{last}""#);
    sim.process().wait_for_line(&recorded).await?;
    sim.process().kill().await?;
    let controller = cluster.controllers[0].process();
    controller.wait_for_line("host offline").await?;
    controller.send_signal("TERM").await?;
    controller.wait_for_exit().await?;
    assert!(controller.log().lines().all(|line| line.starts_with('{')));
    let update = parse_lines(controller)?;
    let done = parse_lines(sim.process())?;

    for (id, end, level) in [
        (&*operations[0], "operation failed", "WARN"),
        (&*operations[1], "operation succeeded", "DEBUG"),
    ] {
        let ids = [
            ("operation_id", id),
            ("host_uuid", host),
            ("decky_id", "decky-01"),
        ];
        check(&update, "operation accepted", "DEBUG", &ids);
        check(&update, "command sent", "DEBUG", &ids);
        check(&update, end, level, &ids);
        check(&done, "teardown started", "INFO", &ids);
        check(&done, "teardown finished", "INFO", &ids);
        check(&done, "result recorded", "INFO", &ids[..2]);
    }
    let late_ids = [("operation_id", &*late), ("host_uuid", &*agentless)];
    check(&update, "operation timed out", "WARN", &late_ids);
    let error = ("error", "the host's agent never started it");
    let explained = [("name", "no-agent"), error];
    check(&update, "operation timed out", "WARN", &explained);
    check(
        &update,
        "host enrolled",
        "INFO",
        &[("host_uuid", &*agentless)],
    );
    let ids = [("host_uuid", host), ("name", host)];
    check(&update, "host online", "INFO", &ids);
    check(&update, "host offline", "WARN", &ids);
    for lines in [&update, &done] {
        let ids = operations.iter().map(|id| ("operation_id", &**id));
        let hosts = [("host_uuid", host), ("host_uuid", &*agentless)];
        let ids: Vec<_> = ids.chain(late_ids).chain(hosts).collect();
        check_ids_are_fields(lines, &ids);
    }
    Ok(())
}
