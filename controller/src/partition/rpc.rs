//! What the leader of one partition asks that of another.

use std::time::{Duration, Instant};

use async_nats::client::RequestErrorKind;
use async_nats::{Client, Request};
use bytes::Bytes;
use scuttle_schemas::{ErrorCode, ErrorReply, ErrorReplyBody, Partition, headers, subjects};
use serde::de::DeserializeOwned;

use crate::request::endpoint::Endpoint;

/// How long a leader may take for an answer. It takes milliseconds; where one gives its partition to another, a fraction of a
/// second. One that has just been lost is missed for longer, and whoever waits should hear so.
const PATIENCE: Duration = Duration::from_secs(3);

/// Between two attempts while nobody leads the partition.
const PAUSE: Duration = Duration::from_millis(100);

/// Asks the leader of a partition what a client asks of the swarm; for a while, until there is one.
///
/// # Errors
/// It refuses, or there is none at this moment.
pub async fn ask<T: DeserializeOwned>(
    client: &Client,
    partition: Partition,
    endpoint: Endpoint,
    payload: Bytes,
) -> Result<T, ErrorReply> {
    let asked = Instant::now();
    loop {
        let answer = once(client, partition, endpoint, payload.clone()).await;
        let led = !matches!(&answer, Err(refusal) if refusal.code == ErrorCode::NotLeader);
        if led || asked.elapsed() + PAUSE > PATIENCE {
            return answer;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn once<T: DeserializeOwned>(
    client: &Client,
    partition: Partition,
    endpoint: Endpoint,
    payload: Bytes,
) -> Result<T, ErrorReply> {
    let subject = subjects::partition_request_subject(partition, &endpoint.subject());
    let request = Request::new().payload(payload).timeout(Some(PATIENCE));
    let answer = client.send_request(subject, request).await;
    let answer = answer.map_err(|error| match error.kind() {
        RequestErrorKind::NoResponders => away(partition, &"nobody leads it at this moment"),
        _ => away(partition, &error),
    })?;
    let refused = answer.headers.as_ref();
    if refused.is_some_and(|headers| headers.get(headers::SERVICE_ERROR_CODE).is_some()) {
        let body: Result<ErrorReplyBody, _> = serde_json::from_slice(&answer.payload);
        return Err(body.map_or_else(|error| away(partition, &error), |body| body.error));
    }
    serde_json::from_slice(&answer.payload).map_err(|error| away(partition, &error))
}

fn away(partition: Partition, cause: &dyn std::fmt::Display) -> ErrorReply {
    let message = format!("partition {partition} does not answer ({cause}): ask again");
    ErrorReply::new(ErrorCode::NotLeader, message)
}
