//! Hidden characters in the texts of agents and operators: neither a person who reads the output of
//! `scuttle` or a log, nor the terminal, is deceived by them.

use std::collections::BTreeMap;

use async_nats::HeaderMap;
use scuttle_schemas::agents::{Heartbeat, ReportedShard};
use scuttle_schemas::{Labels, Note, Services, is_hidden, subjects};
use scuttle_tests::clients::fake_agent::reported_shard;
use scuttle_tests::programs::scuttle::CommandOutput;
use scuttle_tests::{Cluster, Role, TestResult, failed_shard};
use serde_json::json;

use super::cli_runner::Cli;

/// One character of each kind: a terminal command, a C1 control, DEL, a bidirectional override, a
/// zero-width space, a tag, a variation selector and a line separator.
const HOSTILE: &str =
    "a\u{1b}[2Jb\u{9b}31mc\u{7f}d\u{202e}e\u{200b}f\u{e0041}g\u{fe0f}h\u{2028}i\nj";

/// [`HOSTILE`] as text for people.
const SHOWN: &str =
    "a\\u{1b}[2Jb\\u{9b}31mc\\u{7f}d\\u{202e}e\\u{200b}f\\u{e0041}g\\u{fe0f}h\\u{2028}i j";

#[track_caller]
fn assert_visible(text: &str) {
    for line in text.lines() {
        assert!(!line.contains(is_hidden), "{line:?}");
    }
}

#[track_caller]
fn assert_output_visible(output: &CommandOutput) {
    assert_visible(&output.stdout);
    assert_visible(&output.stderr);
}

#[tokio::test]
async fn hidden_characters_in_texts_of_others_are_escaped_wherever_people_read_them() -> TestResult
{
    let mut cluster = Cluster::builder()
        .setting("SCUTTLE_LOG", "debug,async_nats=error")
        .start()
        .await?;
    let mut agent = cluster.start_agent("worker-a", &["decky-01"]).await?;
    let hidden_name = "\u{202e}\u{e0041}";
    let labels = BTreeMap::from([(hidden_name.to_owned(), hidden_name.to_owned())]);
    let shard = ReportedShard {
        services: Services::try_from(vec![hidden_name.to_owned()])?,
        labels: Labels::try_from(labels)?,
        decky_ip: Some("10.0.0.7\u{202e}\u{9b}".to_owned()),
        ..reported_shard("decky-01")
    };
    let heartbeat = Heartbeat {
        agent_version: HOSTILE.into(),
        notes: vec![Note::from(HOSTILE)],
        ..agent.next_heartbeat(Some(vec![shard]))
    };
    agent.send(&heartbeat).await?;
    let request = json!({ "host_uuid": agent.host, "decky_id": "decky-01", "reason": HOSTILE });
    let _: serde_json::Value = cluster
        .operator
        .request(subjects::TEARDOWN, &request)
        .await?;
    let operation = agent.next_command().await?.operation_id;
    let failed = failed_shard("decky-01", HOSTILE);
    agent
        .report_failure(operation, HOSTILE, vec![failed])
        .await?;
    cluster.operator.wait_for_end(operation).await?;
    // The rejection quotes the request, and so does the log.
    let field = json!({ "host_uuid": agent.host, HOSTILE: 1 });
    let rejected = cluster
        .operator
        .request_raw(subjects::TEARDOWN, HeaderMap::new(), field.to_string())
        .await?;
    let headers = rejected.headers.expect("a rejection");
    let header = headers
        .get("Nats-Service-Error")
        .expect("an error")
        .as_str();
    assert_visible(header);

    let id = operation.to_string();
    let cli = Cli::with_role(&cluster, Role::Operator)?;
    for (arguments, parts) in [
        (&["hosts"] as &[&str], &[SHOWN] as &[&str]),
        (
            &["shards"],
            &[SHOWN, "\\u{202e}\\u{e0041}", "10.0.0.7\\u{202e}\\u{9b}"],
        ),
        (&["ops"], &["worker-a/decky-01"]),
        (&["op", &id], &[SHOWN]),
        (&["cancel", &id], &[]),
    ] {
        let output = cli.run(arguments).await?;
        assert_output_visible(&output);
        for part in parts {
            assert!(output.stdout.contains(part), "{part} in {output:?}");
        }
    }

    // JSON has the same values, and escapes.
    for format in ["json", "jsonl"] {
        for verb in [&["hosts"] as &[&str], &["shards"], &["ops"], &["op", &id]] {
            assert_output_visible(&cli.run(&[verb, &["-o", format]].concat()).await?);
        }
    }
    let hosts = cli.run_jsonl(&["hosts"]).await?;
    assert_eq!(hosts[0]["notes"], json!([HOSTILE]));
    let shards = cli.run_jsonl(&["shards"]).await?;
    assert_eq!(shards[0]["labels"], json!({ hidden_name: hidden_name }));
    assert_eq!(shards[0]["last_error"], HOSTILE);
    let snapshot = cli.run(&["watch", "-o", "json"]).await?;
    assert_output_visible(&snapshot);

    assert_output_visible(&cli.run(&["retry", &id]).await?);

    let log = cluster.controllers[0].process();
    log.wait_for_line("operation failed").await?;
    let log = log.log();
    assert_visible(&log);
    assert!(
        log.contains("\\u{202e}") || log.contains("\\u202e"),
        "{log}"
    );
    Ok(())
}
