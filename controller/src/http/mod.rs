//! HTTP for people and for what watches over the process: the page, whether the controller lives, whether it is ready, and
//! its numbers. No state of the swarm goes this way but how much there is of it: the page is a NATS client like any other.

mod static_files;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tracing::{info, warn};

pub use static_files::{NatsUrl, NatsUrlError};

use crate::observability::health::{Health, Role};
use crate::observability::metrics::{self, Metrics};
use static_files::{NO_PAGE, Page};

/// The most connections at a time; a browser has six. Beyond that, one waits for the end of another.
const CONNECTIONS: usize = 64;

/// How long a connection may take to say what it wants, so that silent ones keep nobody out for long.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long to wait when a connection cannot be taken: for a file descriptor, usually.
const PAUSE: Duration = Duration::from_millis(100);

/// An answer: all of it is in memory.
type Answer = Response<Full<Bytes>>;

/// Whoever listens.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    page: Arc<Page>,
    health: Health,
    metrics: Metrics,
}

impl Server {
    /// Listens. The page will connect to `nats`.
    ///
    /// # Errors
    /// The address is taken, or not this machine's.
    pub async fn bind(
        address: SocketAddr,
        nats: &NatsUrl,
        (health, metrics): (Health, Metrics),
    ) -> io::Result<Self> {
        Ok(Self {
            listener: TcpListener::bind(address).await?,
            page: Arc::new(Page::new(nats)),
            health,
            metrics,
        })
    }

    /// Answers for ever.
    ///
    /// # Errors
    /// It does not listen any more.
    pub async fn run(self) -> io::Result<Infallible> {
        let address = self.listener.local_addr()?;
        if Page::is_built_in() {
            info!("the page is at http://{address}/");
        } else {
            warn!(
                "there is no page at http://{address}/, only /healthz, /readyz and /metrics: {NO_PAGE}"
            );
        }
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let turn = room.clone().acquire_owned().await;
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    warn!("cannot take an HTTP connection: {error}");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let page = self.page.clone();
            let watched = (self.health.clone(), self.metrics.clone());
            tokio::spawn(async move {
                serve(stream, page, watched).await;
                drop(turn);
            });
        }
    }
}

async fn serve(stream: TcpStream, page: Arc<Page>, watched: (Health, Metrics)) {
    let answer = service_fn(|request: Request<Incoming>| {
        let answer = route(&request, &page, &watched);
        async { Ok::<_, Infallible>(answer) }
    });
    // An error is the other side's: it has gone, or does not speak HTTP.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), answer)
        .await;
}

fn route(
    request: &Request<Incoming>,
    page: &Page,
    (health, metrics): &(Health, Metrics),
) -> Answer {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut answer = text(
            StatusCode::METHOD_NOT_ALLOWED,
            "only GET and HEAD; what changes something is asked over NATS",
        );
        let allowed = HeaderValue::from_static("GET, HEAD");
        answer.headers_mut().insert(ALLOW, allowed);
        return answer;
    }
    match request.uri().path() {
        "/healthz" => text(StatusCode::OK, "alive"),
        "/readyz" => match health.ready() {
            Ok(Role::Leader) => text(StatusCode::OK, "ready: leading"),
            Ok(Role::Follower) => text(StatusCode::OK, "ready: following"),
            Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, why),
        },
        "/metrics" => of_now(metrics.text(), metrics::CONTENT_TYPE),
        path => page.answer(path, request.headers()),
    }
}

/// A line of text, of now.
fn text(status: StatusCode, line: &'static str) -> Answer {
    let mut answer = of_now(format!("{line}\n"), "text/plain; charset=utf-8");
    *answer.status_mut() = status;
    answer
}

fn of_now(body: String, kind: &'static str) -> Answer {
    let mut answer = Response::new(Full::from(body));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
