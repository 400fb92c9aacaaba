//! An OTLP collector over plain HTTP, on a free port, which keeps every span that it receives.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use anyhow::Result;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode as Status};
use prost::Message;
use scuttle_schemas::OperationId;
use scuttle_tests::wait::lock;
use scuttle_tests::wait_until;
use tokio::net::TcpListener;

/// The environment variable that makes the programs export spans every 20 ms instead of every five
/// seconds, and its value in milliseconds.
pub(crate) const EXPORT_SOON: (&str, &str) = ("OTEL_BSP_SCHEDULE_DELAY", "20");

/// A span that the collector has received.
#[derive(Debug, Clone)]
pub(crate) struct ReceivedSpan {
    pub(crate) service: String,
    pub(crate) name: String,
    pub(crate) kind: SpanKind,
    pub(crate) trace: String,
    pub(crate) id: String,
    /// The id of the parent span, which is empty for the root span of a trace.
    pub(crate) parent: String,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) events: Vec<String>,
    /// The error text of the span's status, or `None` if the status is not an error.
    pub(crate) error: Option<String>,
    /// The start and the end of the span, in nanoseconds since 1970.
    pub(crate) time: (u64, u64),
}

impl ReceivedSpan {
    pub(crate) fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }

    pub(crate) fn is_about(&self, id: OperationId) -> bool {
        self.attribute("scuttle.operation_id") == id.to_string()
    }
}

/// A running OTLP collector. Dropping it closes its port.
pub(crate) struct Collector {
    address: SocketAddr,
    spans: Arc<Mutex<Vec<ReceivedSpan>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Collector {
    pub(crate) async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let spans = Arc::<Mutex<Vec<ReceivedSpan>>>::default();
        let task = tokio::spawn(serve(listener, spans.clone()));
        Ok(Self {
            address,
            spans,
            task,
        })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn spans(&self) -> Vec<ReceivedSpan> {
        lock(&self.spans).clone()
    }

    /// Waits until `is_done` returns true for the spans received so far. Returns all of them.
    pub(crate) async fn wait_for_spans(
        &self,
        what: &str,
        is_done: impl Fn(&[ReceivedSpan]) -> bool,
    ) -> Result<Vec<ReceivedSpan>> {
        let get_spans = || async { Ok::<_, Infallible>(self.spans()) };
        wait_until(what, get_spans, |spans: &Vec<ReceivedSpan>| is_done(spans)).await
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, spans: Arc<Mutex<Vec<ReceivedSpan>>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let spans = spans.clone();
        let service = service_fn(move |request| receive(request, spans.clone()));
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service);
        tokio::spawn(connection);
    }
}

async fn receive(
    request: Request<Incoming>,
    spans: Arc<Mutex<Vec<ReceivedSpan>>>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await;
    let body = body.map(http_body_util::Collected::to_bytes).ok();
    let export = body.and_then(|body| ExportTraceServiceRequest::decode(body).ok());
    let mut response = Response::new(Empty::new());
    match export {
        Some(export) if path == "/v1/traces" => lock(&spans).extend(parse_export(export)),
        _ => *response.status_mut() = StatusCode::BAD_REQUEST,
    }
    Ok(response)
}

fn parse_export(export: ExportTraceServiceRequest) -> Vec<ReceivedSpan> {
    let mut seen = Vec::new();
    for from in export.resource_spans {
        let resource = parse_attributes(from.resource.map(|resource| resource.attributes));
        let service = resource.get("service.name").cloned().unwrap_or_default();
        for span in from.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            seen.push(parse_span(service.clone(), span));
        }
    }
    seen
}

fn parse_span(service: String, span: Span) -> ReceivedSpan {
    let kind = span.kind();
    let error = span.status.filter(|status| status.code() == Status::Error);
    ReceivedSpan {
        service,
        name: span.name,
        kind,
        trace: to_hex(&span.trace_id),
        id: to_hex(&span.span_id),
        parent: to_hex(&span.parent_span_id),
        attributes: parse_attributes(Some(span.attributes)),
        events: span.events.into_iter().map(|event| event.name).collect(),
        error: error.map(|status| status.message),
        time: (span.start_time_unix_nano, span.end_time_unix_nano),
    }
}

fn parse_attributes(pairs: Option<Vec<KeyValue>>) -> BTreeMap<String, String> {
    let text = |value: Option<AnyValue>| match value.and_then(|any| any.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(truth)) => truth.to_string(),
        other => format!("{other:?}"),
    };
    let pairs = pairs.unwrap_or_default().into_iter();
    pairs.map(|pair| (pair.key, text(pair.value))).collect()
}

fn to_hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}
