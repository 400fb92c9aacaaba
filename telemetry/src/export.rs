//! Sending traces: in the background, by a thread with a bounded queue, so that a collector that is away or slow costs
//! spans and a line in the log, never a request.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tracing::{debug, info, warn};

use crate::Endpoint;

/// What makes this process's spans. One for all of it, as its log is, since nothing depends on it; absent while
/// nobody wants them.
static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// How long a collector may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long the last spans may take to leave at a stop.
const LAST_SPANS: Duration = Duration::from_secs(2);

/// A collector's answer says at the most which spans it did not take.
const MAX_ANSWER: u64 = 64 << 10;

/// Traces cannot be sent.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot send traces to {endpoint}: {cause}; check the OTEL_EXPORTER_OTLP_ variables, or take the endpoint away"
)]
pub struct CannotExport {
    endpoint: Endpoint,
    cause: ExporterBuildError,
}

/// Traces on their way; the last ones leave when this is dropped.
#[derive(Debug)]
#[must_use]
pub struct Traces(SdkTracerProvider);

impl Drop for Traces {
    fn drop(&mut self) {
        // A collector that is away was told of already.
        let _ = self.0.shutdown_with_timeout(LAST_SPANS);
    }
}

/// Turns traces on, for good: the spans of `service` go to this collector. Sampling, limits and what else there is to set
/// is OpenTelemetry's own, by its variables.
///
/// # Errors
/// One of them cannot be used.
pub fn export(service: &'static str, endpoint: &Endpoint) -> Result<Traces, CannotExport> {
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Client::new(endpoint.clone()))
        .with_endpoint(endpoint.to_string())
        .with_timeout(PATIENCE)
        .build()
        .map_err(|cause| CannotExport {
            endpoint: endpoint.clone(),
            cause,
        })?;
    let mut resource = Resource::builder()
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    // What the standard variable says goes before.
    if std::env::var_os("OTEL_SERVICE_NAME").is_none_or(|name| name.is_empty()) {
        resource = resource.with_service_name(service);
    }
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource.build())
        .build();
    let _ = TRACER.set(provider.tracer("scuttle"));
    info!("traces go to {endpoint}");
    Ok(Traces(provider))
}

/// The tracer, if traces are on.
pub(crate) fn tracer() -> Option<&'static SdkTracer> {
    TRACER.get()
}

/// Sends what the exporter's own thread gives it, and blocks that thread alone.
#[derive(Debug)]
struct Client {
    endpoint: Endpoint,
    agent: ureq::Agent,
    /// The last ones could not be sent: said once, until some can.
    failing: AtomicBool,
}

impl Client {
    fn new(endpoint: Endpoint) -> Self {
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .http_status_as_error(false)
            // A collector is near; a proxy's variables are for what is far.
            .proxy(None)
            .build()
            .new_agent();
        Self {
            endpoint,
            agent,
            failing: AtomicBool::new(false),
        }
    }

    fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (head, body) = request.into_parts();
        let answer = self.agent.run(Request::from_parts(head, &*body))?;
        let (head, mut body) = answer.into_parts();
        let body = body.with_config().limit(MAX_ANSWER).read_to_vec()?;
        Ok(Response::from_parts(head, body.into()))
    }

    fn note(&self, sent: &Result<Response<Bytes>, HttpError>) {
        let trouble = match sent {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(answer.status().to_string()),
            Err(error) => Some(error.to_string()),
        };
        let endpoint = &self.endpoint;
        let before = self.failing.swap(trouble.is_some(), Ordering::Relaxed);
        match trouble {
            Some(cause) if !before => warn!(
                "cannot send traces to {endpoint}: {cause}; they are dropped until it takes them, all else goes on"
            ),
            Some(cause) => debug!("cannot send traces to {endpoint}: {cause}"),
            None if before => info!("traces are sent to {endpoint} again"),
            None => {}
        }
    }
}

impl HttpClient for Client {
    // What the `async_trait` macro makes of the method.
    fn send_bytes<'life0, 'async_trait>(
        &'life0 self,
        request: Request<Bytes>,
    ) -> std::pin::Pin<
        Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'async_trait>,
    >
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(async move {
            let sent = self.send(request);
            self.note(&sent);
            sent
        })
    }
}
