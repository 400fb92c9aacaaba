//! Requests from the leader of one partition to the leader of another.

use std::time::{Duration, Instant};

use async_nats::client::RequestErrorKind;
use async_nats::{Client, Request};
use bytes::Bytes;
use scuttle_schemas::{ErrorCode, ErrorReply, ErrorReplyBody, Partition, headers, subjects};
use serde::de::DeserializeOwned;

use crate::request::endpoint::Endpoint;

/// The timeout for the reply from another leader. A reply takes milliseconds, or a fraction of a
/// second while a partition moves to another leader. If the leader is lost, the takeover may take
/// longer than this timeout, and the requester then gets an error.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

/// The delay between two attempts while the partition has no leader.
const RETRY_DELAY: Duration = Duration::from_millis(100);

/// Sends a read request to the leader of a partition and decodes the reply. While the partition has
/// no leader, repeats the request for up to `REQUEST_TIMEOUT`.
///
/// # Errors
/// If the leader rejects the request, or if the partition has no leader that sends a valid reply in
/// time.
pub async fn request<T: DeserializeOwned>(
    client: &Client,
    partition: Partition,
    endpoint: Endpoint,
    payload: Bytes,
) -> Result<T, ErrorReply> {
    let started = Instant::now();
    loop {
        let reply = request_once(client, partition, endpoint, payload.clone()).await;
        let has_leader = !matches!(&reply, Err(error) if error.code == ErrorCode::NotLeader);
        if has_leader || started.elapsed() + RETRY_DELAY > REQUEST_TIMEOUT {
            return reply;
        }
        tokio::time::sleep(RETRY_DELAY).await;
    }
}

async fn request_once<T: DeserializeOwned>(
    client: &Client,
    partition: Partition,
    endpoint: Endpoint,
    payload: Bytes,
) -> Result<T, ErrorReply> {
    let subject = subjects::partition_request_subject(partition, &endpoint.subject());
    let request = Request::new()
        .payload(payload)
        .timeout(Some(REQUEST_TIMEOUT));
    let reply = client.send_request(subject, request).await;
    let reply = reply.map_err(|error| match error.kind() {
        RequestErrorKind::NoResponders => no_reply(partition, &"it has no leader at this moment"),
        _ => no_reply(partition, &error),
    })?;
    let headers = reply.headers.as_ref();
    if headers.is_some_and(|headers| headers.get(headers::SERVICE_ERROR_CODE).is_some()) {
        let body: Result<ErrorReplyBody, _> = serde_json::from_slice(&reply.payload);
        return Err(body.map_or_else(|error| no_reply(partition, &error), |body| body.error));
    }
    serde_json::from_slice(&reply.payload).map_err(|error| no_reply(partition, &error))
}

fn no_reply(partition: Partition, cause: &dyn std::fmt::Display) -> ErrorReply {
    let message = format!("partition {partition} does not reply ({cause}): repeat the request");
    ErrorReply::new(ErrorCode::NotLeader, message)
}
