//! The HTTP server, which serves the web page, `/healthz`, `/readyz` and `/metrics`. The counts in
//! the metrics are the only data about the swarm that HTTP serves. The page gets its data from
//! NATS, like any other client.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::header::{ALLOW, HeaderValue};
use hyper::{Method, Request, StatusCode};
use tokio::net::TcpListener;
use tracing::{info, warn};

use crate::http::connection::{Limits, serve};
use crate::http::connection_pool::{ConnectionPool, Permit};
use crate::http::response::{HttpResponse, text_response, uncached_response};
use crate::http::static_files::{NO_PAGE, NatsUrls, Page};
use crate::observability::health::{Health, Role};
use crate::observability::metrics::{self, Metrics};

/// The delay before the server accepts connections again after a failure. The usual cause of a
/// failure is a lack of file descriptors.
const RETRY_DELAY: Duration = Duration::from_millis(100);

/// The minimum time between two warnings that all connections are in use.
const WARNING_INTERVAL: Duration = Duration::from_mins(1);

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
    /// Listens on `address`. The page makes browsers connect to one of `nats_urls`.
    ///
    /// # Errors
    /// If the server cannot listen on `address`, for example because another program uses it.
    pub async fn bind(
        address: SocketAddr,
        nats_urls: &NatsUrls,
        sources: Sources,
    ) -> io::Result<Self> {
        Ok(Self {
            listener: TcpListener::bind(address).await?,
            page: Arc::new(Page::new(nats_urls)),
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
        let mut pool = ConnectionPool::new();
        let mut last_warning = None;
        loop {
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
            let permit = match pool.acquire().await {
                Permit::Regular(permit) => {
                    tokio::spawn(async move {
                        let respond = |request: &_| route(request, Some(&page), &sources);
                        serve(stream, Limits::REGULAR, respond).await;
                        drop(permit);
                    });
                    continue;
                }
                Permit::Reserve(permit) => permit,
            };
            let connection = tokio::spawn(async move {
                let respond = |request: &_| route(request, None, &sources);
                serve(stream, Limits::RESERVE, respond).await;
                drop(permit);
            });
            pool.add_to_reserve(connection.abort_handle());
            if last_warning.is_none_or(|at: Instant| at.elapsed() >= WARNING_INTERVAL) {
                last_warning = Some(Instant::now());
                warn!(
                    "all HTTP connections are in use: new ones get only /healthz, /readyz and \
                     /metrics; let only trusted clients reach --http"
                );
            }
        }
    }
}

/// Returns why the HTTP server has no page, or `None` if it has the page.
pub fn missing_page_reason() -> Option<&'static str> {
    (!Page::is_built_in()).then_some(NO_PAGE)
}

/// Returns the response to a request. Without `page`, only health requests are served.
fn route(request: &Request<Incoming>, page: Option<&Page>, sources: &Sources) -> HttpResponse {
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
            Ok(Role::Leader) => match sources.health.conflict() {
                None => text_response(StatusCode::OK, "ready: leading"),
                Some(conflict) => {
                    text_response(StatusCode::OK, &format!("ready: leading; {conflict}"))
                }
            },
            Ok(Role::Follower) => text_response(StatusCode::OK, "ready: following"),
            Err(reason) => text_response(StatusCode::SERVICE_UNAVAILABLE, &reason),
        },
        "/metrics" => uncached_response(sources.metrics.encode(), metrics::CONTENT_TYPE),
        path => match page {
            Some(page) => page.respond(path, request.headers()),
            None => text_response(
                StatusCode::SERVICE_UNAVAILABLE,
                "all connections are in use; try again in a minute",
            ),
        },
    }
}
