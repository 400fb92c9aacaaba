//! The HTTP server, which serves the web page, `/healthz`, `/readyz` and `/metrics`. The counts in
//! the metrics are the only data about the swarm that HTTP serves. The page gets its data from
//! NATS, like any other client.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{ALLOW, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tracing::{info, warn};

use crate::http::response::{HttpResponse, text_response, uncached_response};
use crate::http::static_files::{NO_PAGE, NatsUrl, Page};
use crate::observability::health::{Health, Role};
use crate::observability::metrics::{self, Metrics};

/// The maximum number of open connections. A browser opens up to six. Connections beyond the
/// maximum wait.
const MAX_CONNECTIONS: usize = 64;

/// The timeout for receiving the headers of a request, so that clients that send nothing do not
/// occupy connections for long.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// The delay before the server accepts connections again after a failure. The usual cause of a
/// failure is a lack of file descriptors.
const RETRY_DELAY: Duration = Duration::from_millis(100);

/// The sources of the data at `/readyz` and `/metrics`.
#[derive(Debug, Clone)]
pub struct Sources {
    pub health: Health,
    pub metrics: Metrics,
}

/// An HTTP server that is bound to its address and serves requests in [`run`](Self::run).
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    page: Arc<Page>,
    sources: Sources,
}

impl Server {
    /// Listens on `address`. The page makes browsers connect to the NATS server at `nats_url`.
    ///
    /// # Errors
    /// If the server cannot listen on `address`, for example because another program uses it.
    pub async fn bind(
        address: SocketAddr,
        nats_url: &NatsUrl,
        sources: Sources,
    ) -> io::Result<Self> {
        Ok(Self {
            listener: TcpListener::bind(address).await?,
            page: Arc::new(Page::new(nats_url)),
            sources,
        })
    }

    /// Serves requests until the process ends. Returns only if the listener's address cannot be
    /// read.
    pub async fn run(self) -> io::Result<Infallible> {
        let address = self.listener.local_addr()?;
        if Page::is_built_in() {
            info!("serving the page at http://{address}/");
        } else {
            warn!(
                "serving only /healthz, /readyz and /metrics at http://{address}/, no page: {NO_PAGE}"
            );
        }
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let permit = permits.clone().acquire_owned().await;
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    warn!("could not accept an HTTP connection: {error}");
                    tokio::time::sleep(RETRY_DELAY).await;
                    continue;
                }
            };
            let page = self.page.clone();
            let sources = self.sources.clone();
            tokio::spawn(async move {
                serve(stream, page, sources).await;
                drop(permit);
            });
        }
    }
}

async fn serve(stream: TcpStream, page: Arc<Page>, sources: Sources) {
    let service = service_fn(|request: Request<Incoming>| {
        let response = route(&request, &page, &sources);
        async { Ok::<_, Infallible>(response) }
    });
    // Errors are the client's: it disconnected or does not speak HTTP.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

fn route(request: &Request<Incoming>, page: &Page, sources: &Sources) -> HttpResponse {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = text_response(
            StatusCode::METHOD_NOT_ALLOWED,
            "only GET and HEAD are allowed; send changes over NATS",
        );
        let allowed = HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(ALLOW, allowed);
        return response;
    }
    match request.uri().path() {
        "/healthz" => text_response(StatusCode::OK, "alive"),
        "/readyz" => match sources.health.ready() {
            Ok(Role::Leader) => text_response(StatusCode::OK, "ready: leading"),
            Ok(Role::Follower) => text_response(StatusCode::OK, "ready: following"),
            Err(reason) => text_response(StatusCode::SERVICE_UNAVAILABLE, reason),
        },
        "/metrics" => uncached_response(sources.metrics.encode(), metrics::CONTENT_TYPE),
        path => page.respond(path, request.headers()),
    }
}
