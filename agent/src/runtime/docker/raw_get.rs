//! Reads of the Engine API whose responses are decoded leniently. The API client decodes a response
//! as a whole and rejects all of it if one value is unknown, such as Podman's state `stopped`.

use std::path::Path;

use bollard::errors::Error as Cause;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

/// Sends a GET request to the Engine over a new connection, and returns the JSON of its response.
/// `target` is the path with the query.
///
/// # Errors
/// If the connection fails, or the response has an error status or is not JSON.
pub(super) async fn get(socket: &Path, target: &str) -> Result<Value, Cause> {
    let stream = UnixStream::connect(socket).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(target)
        .header(HOST, "docker")
        .body(Empty::<Bytes>::new())?;
    let response = async move {
        let response = sender.send_request(request).await?;
        let status = response.status();
        Ok::<_, Cause>((status, response.into_body().collect().await?.to_bytes()))
    };
    // The connection makes progress only while it is polled. It ends after the response, because
    // the sender is dropped then.
    let (response, _) = tokio::join!(response, connection);
    let (status, body) = response?;
    if status != StatusCode::OK {
        let message = serde_json::from_slice::<Value>(&body)
            .ok()
            .and_then(|error| Some(error.get("message")?.as_str()?.to_owned()))
            .unwrap_or_else(|| String::from_utf8_lossy(&body).into_owned());
        return Err(Cause::DockerResponseServerError {
            status_code: status.as_u16(),
            message,
        });
    }
    Ok(serde_json::from_slice(&body)?)
}

/// Returns the query of a request with `filters`, in the form `{"label":["a","b"]}`.
pub(super) fn encode_filters(key: &str, values: &[&str]) -> String {
    let filters = serde_json::json!({ key: values }).to_string();
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("filters", &filters);
    query.finish()
}
