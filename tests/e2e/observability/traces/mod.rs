//! Traces from the request to the broadcast: which spans a collector receives, and that a missing
//! collector harms nothing.

mod collector;

use anyhow::{Context, Result};
use async_nats::HeaderMap;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use scuttle_schemas::shards::ShardsUpdated;
use scuttle_schemas::teardown::TeardownAccepted;
use scuttle_schemas::{HostId, headers, subjects};
use scuttle_tests::{Broadcasts, Client, Cluster, RequestError, Simulator, TestResult, wait_until};
use serde_json::json;

use collector::{Collector, EXPORT_SOON, ReceivedSpan};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// The standard OpenTelemetry variable for the address of the collector.
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

fn trace_context(sampled: bool) -> String {
    format!("00-{TRACE}-{PARENT}-{:02x}", u8::from(sampled))
}

/// Requests a teardown of `decky-01` with `context` as the `traceparent` header.
async fn teardown(
    operator: &Client,
    host: &HostId,
    context: &str,
) -> Result<TeardownAccepted, RequestError> {
    let mut map = HeaderMap::new();
    map.insert(headers::TRACEPARENT, context);
    let request = json!({ "host_uuid": host, "decky_id": "decky-01" });
    operator
        .request_with_headers(subjects::TEARDOWN, map, &request)
        .await
}

fn traceparent(headers: &HeaderMap) -> Option<String> {
    headers.get(headers::TRACEPARENT).map(ToString::to_string)
}

/// Starts a simulated host with one decky, and waits until both are in the record.
async fn start_simulator(cluster: &Cluster, more: &[&str]) -> Result<(Simulator, HostId)> {
    let mut arguments = vec!["--hosts", "1", "--deckies-per-host", "1", "--enroll"];
    arguments.extend(["--teardown-ms", "20", "--heartbeat-ms", "200"]);
    arguments.extend(more);
    let sim = cluster
        .start_simulator_with(&cluster.path("sim"), &arguments, &[EXPORT_SOON])
        .await?;
    Ok((sim, "sim-0001".parse()?))
}

fn find_span<'a>(spans: &'a [ReceivedSpan], name: &str) -> Result<&'a ReceivedSpan> {
    spans
        .iter()
        .find(|span| span.name == name)
        .with_context(|| format!("no span {name:?} in {spans:#?}"))
}

/// Each span is the child of the span that caused it, across both programs.
#[tokio::test]
async fn a_teardown_is_one_trace_from_the_request_to_the_broadcast() -> TestResult {
    let collector = Collector::start().await?;
    let url = collector.url();
    let cluster = Cluster::builder()
        .settings(&[(ENDPOINT, &url), EXPORT_SOON])
        .start()
        .await?;
    let (_sim, host) = start_simulator(&cluster, &["--otlp-endpoint", &url]).await?;
    let mut shards = Broadcasts::<ShardsUpdated>::subscribe(&cluster.operator).await?;
    let id = teardown(&cluster.operator, &host, &trace_context(true))
        .await?
        .operation_id;
    let of_it = |update: &ShardsUpdated| update.operation_id == Some(id);
    let taken = shards.wait_for("tearing_down", of_it).await?;
    let removed = shards
        .wait_for("removed", |update| !update.removed.is_empty())
        .await?;

    let is_complete = |spans: &[ReceivedSpan]| {
        let ours = spans.iter().filter(|span| span.trace == TRACE);
        ours.count() == 6
    };
    let mut spans = collector
        .wait_for_spans("all spans of the trace", is_complete)
        .await?;
    spans.retain(|span| span.trace == TRACE);
    let request = find_span(&spans, "teardown")?;
    let command = find_span(&spans, "publish command")?;
    let execution = find_span(&spans, "execute teardown")?;
    let result = find_span(&spans, "result recorded")?;
    let rows = [
        (request, PARENT, SpanKind::Server),
        (command, request.id.as_str(), SpanKind::Producer),
        (execution, command.id.as_str(), SpanKind::Consumer),
        (result, execution.id.as_str(), SpanKind::Consumer),
    ];
    for (span, parent, kind) in rows {
        assert_eq!(
            (span.parent.as_str(), span.kind),
            (parent, kind),
            "{span:#?}"
        );
        let service = if span.name == execution.name {
            "scuttle-agent"
        } else {
            "scuttle-controller"
        };
        assert_eq!(span.service, service, "{span:#?}");
        assert!(span.is_about(id), "{span:#?}");
        assert_eq!(span.attribute("scuttle.host_uuid"), host.as_str());
        assert_eq!(span.attribute("messaging.system"), "nats");
        assert_eq!(span.error, None, "{span:#?}");
        assert!(span.time.0 <= span.time.1, "{span:#?}");
    }
    assert_eq!(
        request.attribute("messaging.destination.name"),
        subjects::TEARDOWN
    );
    for (span, outcome) in [
        (request, "accepted"),
        (execution, "succeeded"),
        (result, "succeeded"),
    ] {
        assert_eq!(span.attribute("scuttle.outcome"), outcome, "{span:#?}");
    }
    for parent in [request, result] {
        let commit = |span: &&ReceivedSpan| span.name == "commit" && span.parent == parent.id;
        let commit = spans.iter().find(commit).context("no span of the commit")?;
        assert!(parent.time.0 <= commit.time.0 && commit.time.0 < commit.time.1);
        assert!(
            commit.time.1 <= parent.time.1,
            "the commit ended after the reply"
        );
    }
    let steps = ["stopping", "removing", "verifying", "removed"];
    assert_eq!(execution.events, steps);
    assert!(command.time.0 >= request.time.0 && execution.time.0 >= command.time.0);

    let span_of = |span: &ReceivedSpan| Some(format!("00-{TRACE}-{}-01", span.id));
    assert_eq!(traceparent(&taken.headers), span_of(request));
    assert_eq!(traceparent(&removed.headers), span_of(result));
    Ok(())
}

/// A request without a trace context starts a new trace, each resent command has its own span, and
/// a rejected request has a span with an error.
#[tokio::test]
async fn rejections_and_resent_commands_have_spans() -> TestResult {
    let collector = Collector::start().await?;
    let cluster = Cluster::builder()
        .settings(&[(ENDPOINT, &collector.url()), EXPORT_SOON])
        .start()
        .await?;
    let mut agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let nowhere = "nowhere".parse()?;
    let rejection = cluster.operator.tear_down(&nowhere, None).await;
    assert!(
        matches!(rejection, Err(RequestError::Rejected(_))),
        "{rejection:?}"
    );
    let nonsense = cluster
        .operator
        .request_raw(subjects::TEARDOWN, HeaderMap::new(), "{");
    nonsense.await?;
    let accepted = cluster.operator.tear_down(&agent.host, "decky-1").await?;
    let (_, first) = agent.next_delivery().await?;
    let (_, second) = agent.next_delivery().await?;

    let (first, second) = (traceparent(&first), traceparent(&second));
    assert_ne!(first, second);
    let enough = |spans: &[ReceivedSpan]| {
        let sent = |span: &&ReceivedSpan| span.name == "publish command";
        let errors = |span: &&ReceivedSpan| span.error.is_some();
        spans.iter().filter(sent).count() == 2 && spans.iter().filter(errors).count() == 2
    };
    let spans = collector.wait_for_spans("the spans", enough).await?;
    let request = spans
        .iter()
        .find(|span| span.name == "teardown" && span.is_about(accepted.operation_id))
        .context("the request")?;
    assert_eq!(request.parent, "");
    let sent = spans.iter().filter(|span| span.name == "publish command");
    for (span, (attempt, header)) in sent.zip([("1", first), ("2", second)]) {
        assert_eq!((&span.trace, &span.parent), (&request.trace, &request.id));
        assert_eq!(span.attribute("scuttle.attempt"), attempt);
        let context = format!("00-{}-{}-01", span.trace, span.id);
        assert_eq!(header, Some(context));
    }
    let errors: Vec<_> = spans
        .iter()
        .filter(|span| span.error.is_some())
        .map(|span| {
            let host = span.attribute("scuttle.host_uuid");
            assert_eq!(span.attribute("scuttle.outcome"), "rejected");
            (span.name.as_str(), span.attribute("error.type"), host)
        })
        .collect();
    let expected = [
        ("teardown", "host_not_found", "nowhere"),
        ("teardown", "bad_request", ""),
    ];
    assert_eq!(errors, expected);
    let enrolled = find_span(&spans, "hosts-enroll")?;
    assert_eq!(enrolled.attribute("scuttle.host_uuid"), agent.host.as_str());
    Ok(())
}

/// A trace that the requester does not sample is passed on but not exported. With sampling off, the
/// controller starts no new traces.
#[tokio::test]
async fn unsampled_traces_are_not_exported() -> TestResult {
    let collector = Collector::start().await?;
    let off = ("OTEL_TRACES_SAMPLER", "parentbased_always_off");
    let cluster = Cluster::builder()
        .settings(&[(ENDPOINT, &collector.url()), EXPORT_SOON, off])
        .start()
        .await?;
    let deckies = ["decky-01", "decky-02", "decky-03"];
    let mut agent = cluster.start_agent("worker-a", &deckies).await?;

    teardown(&cluster.operator, &agent.host, &trace_context(false)).await?;
    let (_, headers) = agent.next_delivery().await?;
    let passed = traceparent(&headers).context("a context")?;
    assert!(passed.starts_with(&format!("00-{TRACE}-")) && passed.ends_with("-00"));
    cluster.operator.tear_down(&agent.host, "decky-02").await?;
    let (_, headers) = agent.next_delivery().await?;
    assert_eq!(traceparent(&headers), None);

    // The span of a sampled trace arrives after the others, and alone.
    let request = json!({ "host_uuid": agent.host, "decky_id": "decky-03" });
    let mut map = HeaderMap::new();
    map.insert(
        headers::TRACEPARENT,
        format!("00-{PARENT}{PARENT}-{PARENT}-01"),
    );
    let _: TeardownAccepted = cluster
        .operator
        .request_with_headers(subjects::TEARDOWN, map, &request)
        .await?;
    let spans = collector
        .wait_for_spans("the spans", |spans| {
            find_span(spans, "publish command").is_ok() && find_span(spans, "teardown").is_ok()
        })
        .await?;
    let trace = format!("{PARENT}{PARENT}");
    assert!(spans.iter().all(|span| span.trace == trace), "{spans:#?}");
    Ok(())
}

#[tokio::test]
async fn a_trace_context_is_passed_on_unchanged_without_a_collector() -> TestResult {
    let cluster = Cluster::start().await?;
    let (_sim, host) = start_simulator(&cluster, &[]).await?;
    let mut shards = Broadcasts::<ShardsUpdated>::subscribe(&cluster.operator).await?;
    teardown(&cluster.operator, &host, &trace_context(true)).await?;
    let removed = shards
        .wait_for("removed", |update| !update.removed.is_empty())
        .await?;
    assert_eq!(traceparent(&removed.headers), Some(trace_context(true)));
    Ok(())
}

/// The first failed export is logged as a warning, and later failures only at debug level.
#[tokio::test]
async fn an_unreachable_collector_is_logged_once_and_harms_nothing() -> TestResult {
    let url = Collector::start().await?.url();
    let log = ("SCUTTLE_LOG", "info,scuttle_telemetry=debug");
    let mut cluster = Cluster::builder()
        .settings(&[(ENDPOINT, &url), EXPORT_SOON, log])
        .start()
        .await?;
    let (mut sim, host) = start_simulator(&cluster, &["--otlp-endpoint", &url]).await?;
    let accepted = teardown(&cluster.operator, &host, &trace_context(true)).await?;
    cluster.operator.wait_for_end(accepted.operation_id).await?;
    let controller = cluster.controllers[0].process();
    controller.wait_for_line("cannot send traces").await?;
    let operator = &cluster.operator;
    let again = || async {
        let result = operator.tear_down(&host, None).await;
        result.map(|_| controller.log())
    };
    let lines = |log: &str, level: &str| {
        let update = |line: &&str| line.contains("cannot send traces") && line.contains(level);
        log.lines().filter(update).count()
    };
    let log = wait_until("a further export fails", again, |log| {
        lines(log, "DEBUG") > 0
    })
    .await?;
    assert_eq!(lines(&log, "WARN"), 1, "{log}");
    sim.process().wait_for_line("cannot send traces").await?;
    for process in [controller, sim.process()] {
        process.send_signal("TERM").await?;
        assert!(process.wait_for_exit().await?.success());
    }
    Ok(())
}

/// A hanging collector accepts connections and never responds.
#[tokio::test]
async fn a_hanging_collector_delays_neither_replies_nor_the_stop() -> TestResult {
    let hanging = std::net::TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", hanging.local_addr()?);
    let mut cluster = Cluster::builder()
        .settings(&[(ENDPOINT, &url), EXPORT_SOON])
        .start()
        .await?;
    let host = cluster.enroll_host("worker-a").await?;
    // An export is in progress.
    let (_connection, _) = tokio::net::TcpListener::from_std({
        hanging.set_nonblocking(true)?;
        hanging
    })?
    .accept()
    .await?;
    let accepted = cluster.operator.tear_down(&host, None).await?;
    let operation = cluster.operator.operation(accepted.operation_id).await?;
    assert_eq!(operation.attempts, 1);
    let controller = cluster.controllers[0].process();
    controller.send_signal("TERM").await?;
    assert!(controller.wait_for_exit().await?.success());
    Ok(())
}
