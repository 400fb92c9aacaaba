//! Sends traces in the background, on a separate thread with a bounded queue. A slow or unreachable
//! collector causes lost spans and a log line, but never delays a request.

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

use crate::endpoint::Endpoint;

/// The tracer that creates the spans of this process, unset while traces are disabled. The tracer
/// is global, like the log, because no behaviour depends on it.
static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// The maximum duration of a request to the collector.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// The maximum time to send the last spans at shutdown.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// The maximum size of a collector's response, in bytes. A response contains at most the reasons
/// for rejected spans.
const MAX_RESPONSE: u64 = 64 << 10;

/// The reason why the exporter cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot send traces to {endpoint}: {cause}; check the OTEL_EXPORTER_OTLP_ variables, or remove the endpoint"
)]
pub struct ExportError {
    endpoint: Endpoint,
    cause: ExporterBuildError,
}

/// A guard that keeps the exporter running. Dropping the guard sends the last spans.
#[derive(Debug)]
#[must_use]
pub struct TracesGuard(SdkTracerProvider);

impl Drop for TracesGuard {
    fn drop(&mut self) {
        // A failure to reach the collector has already been logged.
        let _ = self.0.shutdown_with_timeout(SHUTDOWN_TIMEOUT);
    }
}

/// Enables traces for the rest of the process, and sends the spans of `service` to `endpoint`. The
/// standard OpenTelemetry variables configure sampling and limits.
///
/// # Errors
/// If a standard OpenTelemetry variable is invalid.
pub fn install_exporter(
    service: &'static str,
    endpoint: &Endpoint,
) -> Result<TracesGuard, ExportError> {
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Client::new(endpoint.clone()))
        .with_endpoint(endpoint.to_string())
        .with_timeout(REQUEST_TIMEOUT)
        .build()
        .map_err(|cause| ExportError {
            endpoint: endpoint.clone(),
            cause,
        })?;
    let mut resource = Resource::builder()
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    // The standard variable takes precedence.
    if std::env::var_os("OTEL_SERVICE_NAME").is_none_or(|name| name.is_empty()) {
        resource = resource.with_service_name(service);
    }
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource.build())
        .build();
    let _ = TRACER.set(provider.tracer("scuttle"));
    info!("sending traces to {endpoint}");
    Ok(TracesGuard(provider))
}

/// Returns the tracer, or `None` while traces are disabled.
pub(crate) fn tracer() -> Option<&'static SdkTracer> {
    TRACER.get()
}

/// An HTTP client that sends requests on the thread of the exporter, and blocks that thread.
#[derive(Debug)]
struct Client {
    endpoint: Endpoint,
    agent: ureq::Agent,
    /// Whether the last request failed. Repeated failures are logged at the debug level only.
    failing: AtomicBool,
}

impl Client {
    fn new(endpoint: Endpoint) -> Self {
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(REQUEST_TIMEOUT))
            .http_status_as_error(false)
            // Proxies are configured for remote servers, but a collector is usually local.
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
        let response = self.agent.run(Request::from_parts(head, &*body))?;
        let (head, mut body) = response.into_parts();
        let body = body.with_config().limit(MAX_RESPONSE).read_to_vec()?;
        Ok(Response::from_parts(head, body.into()))
    }

    fn log_outcome(&self, sent: &Result<Response<Bytes>, HttpError>) {
        let failure = match sent {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(response.status().to_string()),
            Err(error) => Some(error.to_string()),
        };
        let endpoint = &self.endpoint;
        let was_failing = self.failing.swap(failure.is_some(), Ordering::Relaxed);
        match failure {
            Some(cause) if !was_failing => warn!(
                "cannot send traces to {endpoint}: {cause}; they are dropped until it accepts them; everything else is unaffected"
            ),
            Some(cause) => debug!("cannot send traces to {endpoint}: {cause}"),
            None if was_failing => info!("sending traces to {endpoint} again"),
            None => {}
        }
    }
}

impl HttpClient for Client {
    // The signature is the expansion of the `async_trait` macro.
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
            self.log_outcome(&sent);
            sent
        })
    }
}
