//! Responses of the Engine that are read as streams, because they can be larger than the memory.
//! The API client, bollard, collects some of them in memory: a list of changes, or an endless line
//! of a log.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, stream};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

/// The timeout for the beginning of a response. The Engine compares all files of a container before
/// it lists the changes.
const RESPONSE_TIMEOUT: Duration = Duration::from_mins(1);
/// The timeout for the next chunk of a response.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(30);
/// The length from which no more of an error response is read.
const MAX_ERROR_BYTES: usize = 4096;

/// The reason why a response could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum SourceError {
    #[error("it no longer exists")]
    NotFound,
    #[error("{0}")]
    Failed(String),
}

/// The timeouts of a source.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timeouts {
    pub(super) response: Duration,
    pub(super) chunk: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            response: RESPONSE_TIMEOUT,
            chunk: CHUNK_TIMEOUT,
        }
    }
}

/// A task that is aborted when this value is dropped, which closes its connection.
struct Connection(JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Sends a GET request on a new connection, and returns the body of the response. `target` is the
/// path and the query of the request.
pub(super) async fn get(
    socket: &Path,
    target: &str,
    timeouts: Timeouts,
) -> Result<impl Stream<Item = Result<Bytes, String>> + use<>, SourceError> {
    let response = tokio::time::timeout(timeouts.response, send(socket, target)).await;
    let (response, connection) = response.unwrap_or_else(|_| {
        let seconds = timeouts.response.as_secs();
        Err(SourceError::Failed(format!(
            "no response within {seconds} s"
        )))
    })?;
    let state = (response.into_body(), connection);
    Ok(stream::try_unfold(
        state,
        move |(mut body, connection)| async move {
            let Some(data) = next_chunk(&mut body, timeouts.chunk).await? else {
                return Ok(None);
            };
            Ok(Some((data, (body, connection))))
        },
    ))
}

/// Returns the bytes of a text, with those that are not allowed in a query as `%XX`.
pub(super) fn encode_query(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

async fn send(
    socket: &Path,
    target: &str,
) -> Result<(hyper::Response<Incoming>, Connection), SourceError> {
    let failed = |error: &dyn std::error::Error| SourceError::Failed(error.to_string());
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|error| failed(&error))?;
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| failed(&error))?;
    let connection = Connection(tokio::spawn(async {
        // The error of the connection is also that of the response.
        let _ = connection.await;
    }));
    let request = Request::get(target)
        .header(header::HOST, "docker")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new());
    let request = request.map_err(|error| failed(&error))?;
    let response = sender.send_request(request).await;
    let response = response.map_err(|error| failed(&error))?;
    match response.status() {
        StatusCode::OK => Ok((response, connection)),
        StatusCode::NOT_FOUND => Err(SourceError::NotFound),
        status => Err(SourceError::Failed(
            read_error(status, response.into_body()).await,
        )),
    }
}

async fn next_chunk(body: &mut Incoming, timeout: Duration) -> Result<Option<Bytes>, String> {
    loop {
        let frame = tokio::time::timeout(timeout, body.frame()).await;
        let frame = frame.map_err(|_| format!("no data for {} s", timeout.as_secs()))?;
        let Some(frame) = frame else {
            return Ok(None);
        };
        let frame = frame.map_err(|error| format!("the response broke off: {error}"))?;
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
}

async fn read_error(status: StatusCode, mut body: Incoming) -> String {
    #[derive(Deserialize)]
    struct Message {
        message: String,
    }
    let mut text = Vec::new();
    while let Some(Ok(frame)) = body.frame().await
        && text.len() < MAX_ERROR_BYTES
    {
        text.extend_from_slice(&frame.into_data().unwrap_or_default());
    }
    match serde_json::from_slice(&text) {
        Ok(Message { message }) => message,
        Err(_) => format!("the Engine responded with status {status}"),
    }
}
