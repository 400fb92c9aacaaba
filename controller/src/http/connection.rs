//! Serves one HTTP connection, within limits: for the headers of a request, for the client to take
//! the response, for the number of requests, and for the whole connection. So a client cannot hold
//! a connection for ever.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::yield_now;
use tokio::time::timeout;

use crate::http::response::HttpResponse;
use crate::http::write_timeout::WriteTimeout;

/// The limits of one connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// The timeout for receiving the headers of a request.
    headers: Duration,
    /// The longest time for which the client may take no data of a response.
    write: Duration,
    /// The time after which no further request is accepted. A response that has begun then has
    /// the same time again until the connection is closed.
    lifetime: Duration,
    /// The number of requests after which the server closes the connection.
    requests: usize,
}

impl Limits {
    /// The limits of an ordinary connection. A browser loads the page, and a scraper polls the
    /// metrics, over one such connection.
    pub(super) const REGULAR: Self = Self {
        headers: Duration::from_secs(5),
        write: Duration::from_secs(10),
        lifetime: Duration::from_mins(1),
        requests: 100,
    };

    /// The limits of a connection in the reserve, which serves one health request.
    pub(super) const RESERVE: Self = Self {
        headers: Duration::from_secs(2),
        write: Duration::from_secs(2),
        lifetime: Duration::from_secs(5),
        requests: 1,
    };
}

/// Serves the requests of a connection until the client closes it or a limit is reached. Failures
/// are not reported, because the client causes them: it disconnected, or does not speak HTTP.
pub(super) async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    limits: Limits,
    respond: impl Fn(&Request<Incoming>) -> HttpResponse,
) {
    let served = AtomicUsize::new(0);
    let (served, respond) = (&served, &respond);
    let service = service_fn(|request: Request<Incoming>| async move {
        // Other connections have their turn between two requests that have arrived together.
        yield_now().await;
        let mut response = respond(&request);
        if served.fetch_add(1, Ordering::Relaxed) + 1 >= limits.requests {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        Ok::<_, Infallible>(response)
    });
    let stream = TokioIo::new(WriteTimeout::new(stream, limits.write));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.headers)
        .serve_connection(stream, service);
    let mut connection = pin!(connection);
    if timeout(limits.lifetime, connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        let _ = timeout(limits.lifetime, connection).await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hyper::StatusCode;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::task::JoinHandle;

    use super::{Limits, serve};
    use crate::http::response::{text_response, uncached_response};

    const LIMITS: Limits = Limits {
        headers: Duration::from_millis(300),
        write: Duration::from_millis(300),
        lifetime: Duration::from_secs(1),
        requests: 3,
    };

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";

    /// Starts to serve one end of a connection. Returns the other end.
    fn connect(limits: Limits, body: usize) -> (DuplexStream, JoinHandle<()>) {
        let (client, server) = duplex(1024);
        let respond = move |_: &_| match body {
            0 => text_response(StatusCode::OK, "alive"),
            length => uncached_response("x".repeat(length), "text/plain"),
        };
        (client, tokio::spawn(serve(server, limits, respond)))
    }

    #[tokio::test]
    async fn a_connection_ends_after_its_number_of_requests() {
        let (mut client, served) = connect(LIMITS, 0);
        for _ in 0..4 {
            client.write_all(REQUEST).await.expect("the server reads");
        }
        let mut responses = String::new();
        let read = client.read_to_string(&mut responses).await;
        read.expect("the server closes the connection");
        assert_eq!(responses.matches("HTTP/1.1 200").count(), 3, "{responses}");
        assert_eq!(responses.matches("connection: close").count(), 1);
        served.await.expect("no panic");
    }

    #[tokio::test]
    async fn a_connection_ends_if_its_response_is_not_read() {
        let limits = Limits {
            lifetime: Duration::from_hours(1),
            ..LIMITS
        };
        let (mut client, served) = connect(limits, 1_000_000);
        client.write_all(REQUEST).await.expect("the server reads");
        served.await.expect("no panic");
    }

    #[tokio::test]
    async fn a_connection_ends_after_its_lifetime_however_busy_it_is() {
        let limits = Limits {
            requests: usize::MAX,
            ..LIMITS
        };
        let (mut client, served) = connect(limits, 0);
        let mut response = [0; 1024];
        while client.write_all(REQUEST).await.is_ok()
            && matches!(client.read(&mut response).await, Ok(1..))
        {}
        served.await.expect("no panic");
    }

    #[tokio::test]
    async fn a_connection_without_requests_ends() {
        let (_client, served) = connect(LIMITS, 0);
        served.await.expect("no panic");
    }
}
