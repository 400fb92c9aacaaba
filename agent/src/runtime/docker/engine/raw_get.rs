//! GET requests to the Engine API without the API client, bollard. Bollard rejects a whole response
//! because of one unknown value, such as Podman's state `stopped`. It also collects some responses
//! in memory, although they can be larger than the memory.

use std::path::Path;

use bollard::errors::Error as Cause;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

/// The length in bytes after which the rest of an error response is ignored.
const MAX_ERROR_BYTES: usize = 4096;

/// A task that is aborted when this value is dropped, which closes its connection.
pub(crate) struct Connection(JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Sends a GET request on a new connection. Returns the body of the response, and the connection
/// that the body is read from. `target` is the path with the query.
///
/// # Errors
/// If the connection fails, or the status of the response is not 200.
pub(crate) async fn send(socket: &Path, target: &str) -> Result<(Incoming, Connection), Cause> {
    let stream = UnixStream::connect(socket).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = Connection(tokio::spawn(async {
        // The error of the connection is also that of the response.
        let _ = connection.await;
    }));
    let request = Request::get(target)
        .header(header::HOST, "docker")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    match response.status() {
        StatusCode::OK => Ok((response.into_body(), connection)),
        status => Err(Cause::DockerResponseServerError {
            status_code: status.as_u16(),
            message: read_error(status, response.into_body()).await,
        }),
    }
}

/// Sends a GET request like [`send`], and returns the JSON of the response.
///
/// # Errors
/// If the connection fails, the status is not 200, or the response is not JSON.
pub(crate) async fn get_json(socket: &Path, target: &str) -> Result<Value, Cause> {
    let (body, _connection) = send(socket, target).await?;
    Ok(serde_json::from_slice(&body.collect().await?.to_bytes())?)
}

/// Returns the query parameter `filters`: the percent-encoded JSON `{"KEY":["VALUE","VALUE"]}`.
pub(crate) fn encode_filters(key: &str, values: &[&str]) -> String {
    let filters = serde_json::json!({ key: values }).to_string();
    format!("filters={}", encode_query(&filters))
}

/// Percent-encodes a value of a query. Leaves ASCII letters, digits, `-`, `_`, `.`, `~` and `/` as
/// they are.
pub(crate) fn encode_query(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
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
