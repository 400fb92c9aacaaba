//! Outbound: effects become bytes and leave. The only code that publishes.

use async_nats::service::{Request, error};
use async_nats::{Client, HeaderMap, PublishError, Subject};
use bytes::Bytes;
use scuttle_core::{Effect, Reply, Trace};
use scuttle_schemas::agents::ResultRecorded;
use scuttle_schemas::subjects::{self, AgentChannel};
use scuttle_schemas::{Refusal, RefusalBody, headers};
use serde::Serialize;
use tokio::sync::mpsc::Receiver;
use tracing::{debug, warn};

use crate::connection::Connected;
use crate::engine::Outgoing;

/// The most characters of the `Nats-Service-Error` header.
const MAX_HEADER: usize = 256;

/// Sends batches of effects, in order, until the engine is gone.
///
/// While the server is away nothing is kept for later: whoever waited for a reply asks again, commands
/// are sent again by their operations, and a subscriber learns from the next revision what it missed.
pub async fn run(
    client: Client,
    mut outbox: Receiver<Vec<Outgoing<Box<Request>>>>,
    connected: Connected,
) {
    while let Some(batch) = outbox.recv().await {
        let mut left = batch.len();
        let mut watch = connected.clone();
        // Replies first: somebody waits for each. Their order among the others says nothing.
        let (replies, others): (Vec<_>, Vec<_>) = batch
            .into_iter()
            .partition(|(requester, _)| requester.is_some());
        let send = async {
            for (requester, effect) in replies.into_iter().chain(others) {
                if let Err(error) = send(&client, requester, effect).await {
                    warn!("could not publish: {error}");
                }
                left -= 1;
            }
        };
        tokio::select! {
            biased;
            () = watch.lost() => {}
            () = send => {}
        }
        if left > 0 {
            debug!(effects = left, "not sent: the NATS server is away");
        }
    }
}

async fn send(
    client: &Client,
    to: Option<Box<Request>>,
    effect: Effect,
) -> Result<(), PublishError> {
    match effect {
        Effect::Reply(answer) => {
            if let Some(request) = to {
                reply(client, *request, &answer).await;
            }
            Ok(())
        }
        Effect::Command {
            host,
            command,
            trace,
        } => publish(client, AgentChannel::Commands.of(&host), &command, trace).await,
        Effect::ShardsUpdated(message, trace) => {
            publish(client, subjects::SHARDS_UPDATED, &message, trace).await
        }
        Effect::HostsUpdated(message) => {
            publish(client, subjects::HOSTS_UPDATED, &message, None).await
        }
        Effect::OperationsUpdated(message, trace) => {
            publish(client, subjects::OPERATIONS_UPDATED, &message, trace).await
        }
    }
}

async fn publish(
    client: &Client,
    subject: impl async_nats::subject::ToSubject,
    message: &impl Serialize,
    trace: Option<Trace>,
) -> Result<(), PublishError> {
    let payload = encode(message);
    match trace {
        None => client.publish(subject, payload).await,
        Some(trace) => {
            let mut map = HeaderMap::new();
            map.insert(headers::TRACEPARENT, &*trace);
            client.publish_with_headers(subject, map, payload).await
        }
    }
}

/// Answers a request, unless it named no reply subject, or one that is not the asker's to write on.
pub async fn reply(client: &Client, mut request: Request, reply: &Reply) {
    let Some(inbox) = request.message.reply.clone() else {
        return;
    };
    if !subjects::may_be_answered(&inbox) {
        warn!(
            "no answer to {}: its reply subject {inbox} is not the asker's",
            request.message.subject
        );
        return;
    }
    let sent = match reply {
        Reply::Refused(refusal) => {
            let body = encode(&RefusalBody::from(refusal.clone()));
            let sent = client
                .publish_with_headers(inbox, refusal_headers(refusal), body)
                .await;
            // The library counts as errors only answers of its own, which have no body. So it is asked
            // for one, on a subject that it will not send to.
            request.message.reply = Some(Subject::from_static(""));
            let error = error::Error {
                status: refusal.message.clone(),
                code: refusal.code.status().into(),
            };
            let _ = request.respond(Err(error)).await;
            sent
        }
        answer => {
            if let Reply::Recorded(ResultRecorded {
                detail: Some(detail),
                ..
            }) = answer
            {
                warn!(
                    "a result on {} changed nothing: {detail}",
                    request.message.subject
                );
            }
            request.respond(Ok(encode(answer))).await
        }
    };
    if let Err(error) = sent {
        warn!("could not answer {}: {error}", request.message.subject);
    }
}

fn refusal_headers(refusal: &Refusal) -> HeaderMap {
    let mut map = HeaderMap::new();
    // The message may quote the request, and a line break in it would begin another header.
    let message: String = refusal.message.chars().take(MAX_HEADER).collect();
    map.insert(
        headers::SERVICE_ERROR,
        message.replace(char::is_control, " ").as_str(),
    );
    map.insert(
        headers::SERVICE_ERROR_CODE,
        refusal.code.status().to_string().as_str(),
    );
    map
}

/// Everything that is sent is made of strings, numbers and lists, which always have a JSON form.
fn encode(message: &impl Serialize) -> Bytes {
    serde_json::to_vec(message)
        .expect("a wire message has a JSON form")
        .into()
}
