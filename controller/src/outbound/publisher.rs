//! Outbound: effects become bytes and leave. The only code that publishes.

use std::sync::Arc;

use async_nats::service::{Request, error};
use async_nats::{Client, HeaderMap, PublishError, Subject};
use bytes::Bytes;
use scuttle_core::{Effect, Reply, Trace};
use scuttle_schemas::agents::ResultRecorded;
use scuttle_schemas::subjects::{self, AgentChannel};
use scuttle_schemas::{ErrorReply, ErrorReplyBody, OperationId, headers};
use tokio::sync::mpsc::Receiver;
use tracing::{debug, warn};

use crate::engine::CommittedBatch;
use crate::leadership::lease::LeaseGuard;
use crate::nats::connection::Connected;
use crate::observability::audit::Audit;
use crate::observability::counters::{About, Cause, Counters, Source};
use crate::observability::event_log::{self, EventLog};
use crate::observability::spans;
use crate::outbound::encoder::Encoder;
use crate::partition::assignment::PartitionAssignment;
use crate::partition::relay_format;
use crate::request::endpoint::Endpoint;
use crate::request::serve::Requester;

/// The most characters of the `Nats-Service-Error` header.
const MAX_HEADER: usize = 256;

/// Bytes of messages that are encoded into one piece of memory: several milliseconds of them at the
/// most that were seen, and four of the largest broadcasts.
const BUFFER: usize = 1 << 20;

/// Sends batches of effects, in order, until the engine is gone.
///
/// While the server is away nothing is kept for later: whoever waited for a reply asks again, commands
/// are sent again by their operations, and a subscriber learns from the next revision what it missed. Nor does anything leave
/// once the lease is over: another controller may have gone on since.
pub async fn run(
    (client, assignment): (Client, PartitionAssignment),
    mut outbox: Receiver<Vec<CommittedBatch<Box<Requester>>>>,
    (connected, lease): (Connected, LeaseGuard),
    (audit, counters, mut events): (Audit, Arc<Counters>, EventLog),
) {
    let mut encoder = Encoder::new(BUFFER);
    while let Some(mut batches) = outbox.recv().await {
        if !lease.is_valid() {
            batches = batches
                .into_iter()
                .map(CommittedBatch::into_rejected)
                .collect();
        }
        // Also while the server is away: what was accepted is on disk, whoever hears of it.
        for (requester, reply) in batches.iter().flat_map(|batch| &batch.replies) {
            if let Some((endpoint, request)) = &requester.request
                && is_counted(request)
            {
                counters.answers.count(*endpoint, reply);
            }
        }
        let answers = batches.iter().flat_map(|batch| &batch.replies);
        let changes =
            answers.filter_map(|(requester, reply)| Some((requester.asked.as_deref()?, reply)));
        audit.record_replies(changes, &counters);
        for effect in batches.iter().flat_map(|batch| &batch.effects) {
            events.log_effect(effect);
        }
        let mut watch = connected.clone();
        tokio::select! {
            biased;
            () = watch.lost() => debug!("not all was sent: the NATS server is away"),
            () = tell((&client, assignment), &mut encoder, &counters, batches) => {}
        }
    }
}

/// Replies first: somebody waits for each. Their order among the others says nothing.
async fn tell(
    (client, assignment): (&Client, PartitionAssignment),
    encoder: &mut Encoder,
    counters: &Counters,
    mut batches: Vec<CommittedBatch<Box<Requester>>>,
) {
    for batch in &mut batches {
        let commit = batch.decided.zip(batch.durable);
        for (mut requester, answer) in batch.replies.drain(..) {
            let requester = &mut *requester;
            if let Some(span) = &mut requester.span {
                spans::finish_request(span, requester.asked.as_deref(), &answer, commit);
            }
            if let Some(request) = requester.request.take() {
                let operation = requester.operation;
                reply(client, encoder, counters, request, operation, &answer).await;
            }
        }
    }
    // They are written to the connection now, while the rest is encoded, which takes longer.
    tokio::task::yield_now().await;
    for effect in batches.into_iter().flat_map(|batch| batch.effects) {
        if let Err(error) = send((client, assignment), encoder, effect).await {
            warn!("could not publish: {error}");
        }
    }
}

async fn send(
    (client, assignment): (&Client, PartitionAssignment),
    encoder: &mut Encoder,
    mut effect: Effect,
) -> Result<(), PublishError> {
    let mut span = spans::start_command(&mut effect);
    if let Effect::Command { command, .. } = &effect {
        event_log::log_command(command);
    }
    let Outgoing {
        subject,
        headers,
        payload,
    } = encode_effect(encoder, effect, assignment);
    let sent = match headers {
        None => client.publish(subject, payload).await,
        Some(headers) => client.publish_with_headers(subject, headers, payload).await,
    };
    if let (Some(span), Err(error)) = (&mut span, &sent) {
        span.failed("unsent", error.to_string());
    }
    sent
}

/// A message as it leaves.
#[derive(Debug)]
pub struct Outgoing {
    /// Where to.
    pub subject: Subject,
    /// Its headers, if it has any.
    pub headers: Option<HeaderMap>,
    /// Its JSON.
    pub payload: Bytes,
}

/// The message that an effect of the leader of these hosts is.
pub fn encode_effect(
    encoder: &mut Encoder,
    effect: Effect,
    assignment: PartitionAssignment,
) -> Outgoing {
    let preface = if assignment.is_first() {
        None
    } else {
        relay_format::encode_header(&effect)
    };
    let (subject, payload, trace) = match effect {
        Effect::Command {
            host,
            command,
            trace,
        } => (
            AgentChannel::Commands.subject(&host).into(),
            encoder.encode(&command),
            trace,
        ),
        Effect::ShardsUpdated(message, trace) => (
            Subject::from_static(subjects::SHARDS_UPDATED),
            encoder.encode(&message),
            trace,
        ),
        Effect::HostsUpdated(message) => (
            Subject::from_static(subjects::HOSTS_UPDATED),
            encoder.encode(&message),
            None,
        ),
        Effect::OperationsUpdated(message, trace) => (
            Subject::from_static(subjects::OPERATIONS_UPDATED),
            encoder.encode(&message),
            trace,
        ),
        Effect::Relayed {
            revision,
            broadcast,
            trace,
        } => (
            Subject::from_static(relay_format::broadcast_subject(broadcast.topic)),
            relay_format::with_revision(&broadcast, revision),
            trace,
        ),
    };
    Outgoing {
        subject: assignment.publish_subject(subject),
        headers: trace.map(|trace| trace_headers(&trace)),
        payload: match preface {
            Some(preface) => [preface.as_bytes(), &payload].concat().into(),
            None => payload,
        },
    }
}

/// The headers and the payload of an answer.
pub fn encode_reply(encoder: &mut Encoder, reply: &Reply) -> (Option<HeaderMap>, Bytes) {
    match reply {
        Reply::Rejected(refusal) => (
            Some(refusal_headers(refusal)),
            encoder.encode(&ErrorReplyBody::from(refusal.clone())),
        ),
        reply => (None, encoder.encode(reply)),
    }
}

fn trace_headers(trace: &Trace) -> HeaderMap {
    let mut map = HeaderMap::new();
    map.insert(headers::TRACEPARENT, &**trace);
    map
}

/// Answers a request, which may report on an operation, unless it named no reply subject, or one that is not the asker's to write on.
pub async fn reply(
    client: &Client,
    encoder: &mut Encoder,
    counters: &Counters,
    (endpoint, mut request): (Endpoint, Request),
    operation: Option<OperationId>,
    reply: &Reply,
) {
    let Some(inbox) = request.message.reply.clone() else {
        return;
    };
    let length = inbox.len();
    let reported = endpoint.channel().map(|_| request.message.subject.clone());
    let count = |cause, what: &dyn std::fmt::Display| {
        let subject = reported.as_deref().unwrap_or_default();
        let about = About::host(endpoint.channel(), subject).operation(operation);
        counters.count_about(&about, Source::Endpoint(endpoint), cause, length, what);
    };
    if !subjects::is_allowed_reply_subject(&request.message.subject, &inbox) {
        count(Cause::ReplySubject, &"it is not answered");
        return;
    }
    let (headers, payload) = encode_reply(encoder, reply);
    let sent = match reply {
        Reply::Rejected(refusal) => {
            let headers = headers.unwrap_or_default();
            let sent = client.publish_with_headers(inbox, headers, payload).await;
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
        reply => {
            if let Reply::Recorded(ResultRecorded {
                detail: Some(detail),
                ..
            }) = reply
            {
                count(Cause::UnknownOperation, detail);
            }
            request.respond(Ok(payload)).await
        }
    };
    if let Err(error) = sent {
        count(Cause::ReplyFailed, &error);
    }
}

/// Whether an answer counts as one to a client: not the pages of which one answer is made.
pub fn is_counted(request: &Request) -> bool {
    !subjects::is_partition_request(&request.message.subject)
}

fn refusal_headers(refusal: &ErrorReply) -> HeaderMap {
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
