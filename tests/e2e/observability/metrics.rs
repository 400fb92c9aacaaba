//! The controller's metrics: their values are right, `$SRV.STATS` has the same values, and the
//! dashboard, the alerts and the documentation name only metrics that exist.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use async_nats::HeaderMap;
use scuttle_schemas::agents::{DETAIL_UNKNOWN_OPERATION, ProgressStep};
use scuttle_schemas::operations::{CancelAccepted, CancelRequest};
use scuttle_schemas::subjects::{self, SERVICE_NAME};
use scuttle_schemas::{ErrorCode, OperationId};
use scuttle_tests::openmetrics::{Exposition, Family};
use scuttle_tests::programs::workspace;
use scuttle_tests::{
    Cluster, ExpectRejection, Http, TestResult, failed_shard, removed_shard, wait_until,
};
use serde_json::{Value, json};
use tokio::process::Command;
use uuid::Uuid;

/// Starts a cluster whose controller has an HTTP endpoint.
async fn start() -> Result<(Cluster, Http)> {
    let mut cluster = Cluster::builder()
        .settings(&[("SCUTTLE_HTTP", "127.0.0.1:0")])
        .start()
        .await?;
    let http = cluster.controllers[0].http().await?;
    Ok((cluster, http))
}

/// Checks that each series has its expected value.
fn check(metrics: &Exposition, expected: &[(&str, f64)]) -> TestResult {
    for (series, value) in expected {
        let found = metrics.value(series)?;
        ensure!(
            (found - value).abs() < f64::EPSILON,
            "{series} is {found}, not {value}"
        );
    }
    Ok(())
}

/// Returns the field `data` of the endpoint with this subject, from the reply to `$SRV.STATS`.
async fn endpoint_stats(cluster: &Cluster, subject: &str) -> Result<Value> {
    let stats_subject = format!("$SRV.STATS.{SERVICE_NAME}");
    let reply = cluster
        .operator
        .request_raw(&stats_subject, HeaderMap::new(), "")
        .await?;
    let reply: Value = serde_json::from_slice(&reply.payload)?;
    let endpoints = reply["endpoints"].as_array().context("endpoints")?;
    let metrics = endpoints.iter().find(|one| one["subject"] == subject);
    Ok(metrics.context("the endpoint")?["data"].clone())
}

#[tokio::test]
async fn requests_of_operators_are_counted() -> TestResult {
    let (cluster, http) = start().await?;
    let agent = cluster
        .start_agent("worker-a", &["decky-1", "decky-2"])
        .await?;
    cluster.enroll_host("worker-b").await?;
    cluster.operator.tear_down(&agent.host, "decky-1").await?;
    let again = cluster.operator.tear_down(&agent.host, "decky-1").await?;
    assert!(again.repeated);
    let rejection = cluster.operator.tear_down(&agent.host, "decky-9").await;
    assert_eq!(rejection.expect_rejection().code, ErrorCode::ShardNotFound);
    let malformed = cluster
        .operator
        .request_raw(subjects::TEARDOWN, HeaderMap::new(), "{")
        .await?;
    assert!(malformed.headers.is_some(), "the reply is not an error");

    let metrics = http.scrape().await?;
    check(
        &metrics,
        &[
            ("scuttle_ready", 1.0),
            ("scuttle_requests_total{endpoint=\"teardown\"}", 4.0),
            ("scuttle_requests_total{endpoint=\"hosts-enroll\"}", 2.0),
            ("scuttle_requests_total{endpoint=\"agent-heartbeat\"}", 1.0),
            ("scuttle_teardowns_accepted_total{repeated=\"false\"}", 1.0),
            ("scuttle_teardowns_accepted_total{repeated=\"true\"}", 1.0),
            (
                "scuttle_requests_refused_total{endpoint=\"teardown\",code=\"shard_not_found\"}",
                1.0,
            ),
            (
                "scuttle_requests_refused_total{endpoint=\"teardown\",code=\"bad_request\"}",
                1.0,
            ),
            (
                "scuttle_requests_refused_total{endpoint=\"teardown\",code=\"overloaded\"}",
                0.0,
            ),
            (
                "scuttle_ignored_total{source=\"teardown\",cause=\"not_json\"}",
                1.0,
            ),
            (
                "scuttle_ignored_total{source=\"connection\",cause=\"lost\"}",
                0.0,
            ),
            ("scuttle_operations{state=\"queued\"}", 1.0),
            ("scuttle_hosts{status=\"online\"}", 1.0),
            ("scuttle_hosts{status=\"enrolled\"}", 1.0),
            ("scuttle_shards{state=\"running\"}", 1.0),
            ("scuttle_shards{state=\"tearing_down\"}", 1.0),
            ("scuttle_inbox_messages{kind=\"changes\"}", 0.0),
            ("scuttle_inbox_messages{kind=\"reports\"}", 0.0),
            ("scuttle_inbox_bytes{kind=\"requests\"}", 0.0),
            ("scuttle_decided_batches", 0.0),
            ("scuttle_outbox_commits", 0.0),
        ],
    )?;
    // Each of these requests is a change, and has its reply before the next request is sent.
    let commits = metrics.value("scuttle_commit_duration_seconds_count")?;
    assert!(commits >= 4.0, "{commits}");
    let changes = metrics.value("scuttle_commit_changes_sum")?;
    assert!(changes >= commits, "{changes} in {commits}");
    let journal = metrics.value("scuttle_journal_changes")?;
    assert!(
        (journal - changes).abs() < f64::EPSILON,
        "{journal} of {changes}"
    );
    let ages = |metrics: &Exposition| {
        metrics
            .value("scuttle_operation_oldest_open_age_seconds")
            .is_ok_and(|age| age > 0.0)
    };
    wait_until(
        "the age of the oldest operation grows",
        || http.scrape(),
        ages,
    )
    .await?;

    assert_eq!(
        endpoint_stats(&cluster, subjects::TEARDOWN).await?,
        json!({
            "granted": 2,
            "refused": { "bad_request": 1, "shard_not_found": 1 },
            "ignored": { "not_json": 1 }
        })
    );
    let enrolled = json!({ "granted": 2, "refused": {}, "ignored": {} });
    assert_eq!(
        endpoint_stats(&cluster, subjects::HOSTS_ENROLL).await?,
        enrolled
    );
    Ok(())
}

#[tokio::test]
async fn late_repeated_and_stale_reports_are_counted() -> TestResult {
    let (cluster, http) = start().await?;
    let deckies = ["decky-1", "decky-2", "decky-3", "decky-4"];
    let mut agent = cluster.start_agent("worker-a", &deckies).await?;
    let of = async |decky| -> Result<OperationId> {
        Ok(cluster
            .operator
            .tear_down(&agent.host, decky)
            .await?
            .operation_id)
    };
    let (removed, stuck, late, open) = (
        of("decky-1").await?,
        of("decky-2").await?,
        of("decky-3").await?,
        of("decky-4").await?,
    );
    let result = agent.next_success(removed, vec![removed_shard("decky-1")]);
    agent.send_result(&result).await?;
    agent.send_result(&result).await?;
    agent
        .report_failure(stuck, "busy", vec![failed_shard("decky-2", "busy")])
        .await?;
    let request = CancelRequest { operation_id: late };
    let cancelled: CancelAccepted = cluster
        .operator
        .request(subjects::OPERATIONS_CANCEL, &request)
        .await?;
    assert!(cancelled.accepted);
    agent.report_success(late, &["decky-3"]).await?;
    let unknown = agent.next_success(OperationId(Uuid::now_v7()), Vec::new());
    let reply = agent.send_result(&unknown).await?;
    assert_eq!(reply.detail.as_deref(), Some(DETAIL_UNKNOWN_OPERATION));
    let old = agent.next_heartbeat(None);
    agent.send_heartbeat().await?;
    assert!(agent.send(&old).await?.stale);
    // The host has a new agent, which has received no command.
    agent.reboot();
    agent.send_heartbeat().await?;
    agent.publish_progress(open, ProgressStep::Started).await?;

    let running = |metrics: &Exposition| {
        let running = metrics.value("scuttle_operations{state=\"running\"}");
        running.is_ok_and(|count| count > 0.0)
    };
    let metrics = wait_until("the operation is running", || http.scrape(), running).await?;
    check(
        &metrics,
        &[
            ("scuttle_operations{state=\"queued\"}", 0.0),
            ("scuttle_operations{state=\"running\"}", 1.0),
            ("scuttle_operations{state=\"succeeded\"}", 2.0),
            ("scuttle_operations{state=\"failed\"}", 1.0),
            ("scuttle_operations{state=\"cancelled\"}", 0.0),
            ("scuttle_operations_ended_total{state=\"succeeded\"}", 2.0),
            ("scuttle_operations_ended_total{state=\"failed\"}", 1.0),
            ("scuttle_operations_ended_total{state=\"cancelled\"}", 1.0),
            ("scuttle_operations_ended_total{state=\"timed_out\"}", 0.0),
            ("scuttle_shards{state=\"teardown_failed\"}", 1.0),
            ("scuttle_shards{state=\"tearing_down\"}", 1.0),
            ("scuttle_results_late_total", 1.0),
            ("scuttle_results_repeated_total", 1.0),
            ("scuttle_reports_stale_total", 1.0),
            (
                "scuttle_ignored_total{source=\"agent-results\",cause=\"unknown_operation\"}",
                1.0,
            ),
        ],
    )?;
    let retries = metrics.value("scuttle_commands_retried_total")?;
    assert!(retries >= 1.0, "{retries}");
    let reports = endpoint_stats(
        &cluster,
        &subjects::AgentChannel::Results.wildcard_subject(),
    )
    .await?;
    let expected = json!({ "granted": 5, "refused": {}, "ignored": { "unknown_operation": 1 } });
    assert_eq!(reports, expected);
    Ok(())
}

#[tokio::test]
async fn reconnections_to_the_server_are_counted() -> TestResult {
    let (mut cluster, http) = start().await?;
    check(
        &http.scrape().await?,
        &[("scuttle_nats_reconnects_total", 0.0)],
    )?;
    cluster.servers[0].kill().await?;
    let is = |series: &'static str, expected: f64| {
        move |metrics: &Exposition| check(metrics, &[(series, expected)]).is_ok()
    };
    wait_until(
        "the controller is not ready",
        || http.scrape(),
        is("scuttle_ready", 0.0),
    )
    .await?;
    cluster.servers[0].restart().await?;
    let back = is("scuttle_nats_reconnects_total", 1.0);
    wait_until("the controller has reconnected", || http.scrape(), back).await?;
    let ready = is("scuttle_ready", 1.0);
    wait_until("all connections are back", || http.scrape(), ready).await?;
    // The gauges about the record keep their values without a connection.
    cluster.enroll_host("worker-a").await?;
    check(
        &http.scrape().await?,
        &[
            ("scuttle_ready", 1.0),
            ("scuttle_hosts{status=\"enrolled\"}", 1.0),
        ],
    )
}

/// Prometheus's own `promtool` parses the metrics, if the test run provides it. `promtool` accepts
/// only samples with a timestamp, so the test adds one to each sample.
#[tokio::test]
async fn prometheus_can_parse_the_metrics() -> TestResult {
    let (cluster, http) = start().await?;
    let text = http.scrape().await?.text;
    let timed = text.lines().map(|line| {
        let time = if line.starts_with('#') {
            ""
        } else {
            " 1795425109"
        };
        format!("{line}{time}\n")
    });
    let (file, out) = (cluster.path("metrics"), cluster.path("blocks"));
    std::fs::write(&file, timed.collect::<String>())?;
    let Some(promtool) = std::env::var_os("SCUTTLE_PROMTOOL") else {
        println!("not read by promtool: SCUTTLE_PROMTOOL does not say where it is");
        return Ok(());
    };
    let mut command = Command::new(promtool);
    command
        .args(["tsdb", "create-blocks-from", "openmetrics"])
        .args([file, out]);
    let output = command.output().await.context("start promtool")?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// Returns the path of a file in `packaging/`.
fn packaged_path(name: &str) -> PathBuf {
    workspace().join("packaging").join(name)
}

/// Finds the names of metrics in a text: all words that start with `scuttle_` or `process_`.
fn find_metric_names(text: &str) -> BTreeSet<String> {
    let names = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let metrics = names.filter(|name| name.starts_with("scuttle_") || name.starts_with("process_"));
    metrics.map(str::to_owned).collect()
}

/// Appends all queries in a Grafana dashboard to `found`, one on each line.
fn collect_queries(value: &Value, found: &mut String) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::String(query) if key == "expr" || key == "query" => {
                        found.push_str(query);
                        found.push('\n');
                    }
                    _ => collect_queries(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect_queries(item, found)),
        _ => {}
    }
}

#[tokio::test]
async fn the_dashboard_and_the_alerts_name_only_existing_metrics() -> TestResult {
    let (_swarm, http) = start().await?;
    let metrics = http.scrape().await?;
    let there: BTreeSet<String> = metrics
        .families
        .iter()
        .flat_map(Family::sample_names)
        .collect();
    let dashboard = std::fs::read_to_string(packaged_path("grafana/scuttle.json"))?;
    let mut shown = String::new();
    collect_queries(&serde_json::from_str(&dashboard)?, &mut shown);
    let alerts = std::fs::read_to_string(packaged_path("prometheus/alerts.yml"))?;
    for (text, least) in [(&shown, 20), (&alerts, 10)] {
        let named = find_metric_names(text);
        assert!(named.len() >= least, "{named:?}");
        let unknown: Vec<_> = named.difference(&there).collect();
        assert!(unknown.is_empty(), "{unknown:?} are not in /metrics");
    }
    let (shown, there) = (find_metric_names(&shown), metrics.families.iter());
    let unseen: Vec<_> = there
        .filter(|family| !family.sample_names().any(|name| shown.contains(&name)))
        .map(|family| &family.name)
        .collect();
    assert!(unseen.is_empty(), "the dashboard does not show {unseen:?}");
    Ok(())
}

fn read_operations_page() -> Result<String> {
    let path = workspace().join("docs/operations.md");
    std::fs::read_to_string(&path).with_context(|| path.display().to_string())
}

#[tokio::test]
async fn the_documentation_lists_every_metric_with_its_help_text() -> TestResult {
    let (_swarm, http) = start().await?;
    let rows = (http.scrape().await?.families.into_iter()).map(|family| {
        let names: Vec<String> = match family.kind.as_str() {
            "histogram" => vec![family.name.clone()],
            _ => family.sample_names().collect(),
        };
        let Family {
            kind, unit, help, ..
        } = family;
        let unit = if unit.is_empty() { "—" } else { &unit };
        format!("| `{}` | {kind} | {unit} | {help} |\n", names.join(""))
    });
    let table = format!(
        "| name | type | unit | what it says |\n| --- | --- | --- | --- |\n{}",
        rows.collect::<String>()
    );
    assert!(
        read_operations_page()?.contains(&format!("\n{table}\n")),
        "docs/operations.md does not contain this table:\n{table}"
    );
    Ok(())
}

#[test]
fn every_alert_links_to_an_existing_section_of_the_documentation() -> TestResult {
    let rules = std::fs::read_to_string(packaged_path("prometheus/alerts.yml"))?;
    let documented = read_operations_page()?;
    let (_, documented) = documented
        .split_once("## What an alert means, and what to do\n")
        .context("no section of alerts")?;
    let alerts: Vec<&str> = (rules.lines())
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    assert!(alerts.len() >= 10, "{alerts:?}");
    for alert in &alerts {
        let heading = format!("\n### {alert}\n");
        assert!(documented.contains(&heading), "no heading for {alert}");
        let place = format!("runbook: docs/operations.md#{}\n", alert.to_lowercase());
        assert!(rules.contains(&place), "{alert} has no link to its section");
    }
    let headings = documented
        .lines()
        .filter(|line| line.starts_with("### Scuttle"));
    assert_eq!(headings.count(), alerts.len());
    let tested = std::fs::read_to_string(packaged_path("prometheus/alerts.test.yml"))?;
    for alert in alerts {
        let times = tested.matches(&format!("alertname: {alert}\n")).count();
        assert!(times >= 2, "{alert} is not tested both ways");
    }
    assert!(Path::new(&packaged_path("grafana/scuttle.json")).is_file());
    Ok(())
}
