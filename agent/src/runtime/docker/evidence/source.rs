//! Responses of the Engine that are read as streams, because they can be larger than the memory.
//! The API client, bollard, collects some of them in memory: a list of changes, or an endless line
//! of a log.

use std::path::Path;
use std::time::Duration;

use bollard::errors::Error as Cause;
use bytes::Bytes;
use futures_util::{Stream, stream};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::super::engine::raw_get;

/// The timeout for the beginning of a response. The Engine compares all files of a container before
/// it lists the changes.
const RESPONSE_TIMEOUT: Duration = Duration::from_mins(1);
/// The timeout for the next chunk of a response.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(30);

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

/// Sends a GET request on a new connection, and returns the body of the response. `target` is the
/// path and the query of the request.
pub(super) async fn get(
    socket: &Path,
    target: &str,
    timeouts: Timeouts,
) -> Result<impl Stream<Item = Result<Bytes, String>> + use<>, SourceError> {
    let response = tokio::time::timeout(timeouts.response, raw_get::send(socket, target)).await;
    let Ok(response) = response else {
        let seconds = timeouts.response.as_secs();
        let text = format!("no response within {seconds} s");
        return Err(SourceError::Failed(text));
    };
    let state = response.map_err(to_source_error)?;
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

fn to_source_error(cause: Cause) -> SourceError {
    match cause {
        Cause::DockerResponseServerError {
            status_code: 404, ..
        } => SourceError::NotFound,
        Cause::DockerResponseServerError { message, .. } => SourceError::Failed(message),
        cause => SourceError::Failed(cause.to_string()),
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
