//! Replies to requests. Every reply is sent here: replies after a commit, rejections without a
//! commit, and lists that were gathered from all partitions.

use std::sync::Arc;

use async_nats::{Client, HeaderMap, Message};
use bytes::Bytes;
use scuttle_core::Reply;
use scuttle_schemas::agents::ResultRecorded;
use scuttle_schemas::{
    ErrorReply, ErrorReplyBody, escape_hidden, headers, subjects, truncate_chars,
};
use serde::Serialize;

use crate::engine::CommitTiming;
use crate::nats::connection::Connected;
use crate::observability::audit::Audit;
use crate::observability::counters::{Cause, Counters, Ignored};
use crate::observability::spans;
use crate::outbound::encoder::Encoder;
use crate::request::context::RequestContext;
use crate::request::endpoint::Endpoint;

/// The maximum length of the `Nats-Service-Error` header, in characters.
const MAX_ERROR_HEADER: usize = 256;

/// The size in bytes of a chunk for encoded replies and effects. A chunk holds the most output that
/// was observed in several milliseconds, and has space for four of the largest broadcasts.
const CHUNK_SIZE: usize = 1 << 20;

/// Sends the replies to requests. Also counts them, writes the audit log, and completes the
/// requests' trace spans.
#[derive(Debug)]
pub struct Replier {
    client: Client,
    connected: Connected,
    audit: Audit,
    counters: Arc<Counters>,
    pub(super) encoder: Encoder,
}

impl Clone for Replier {
    /// Returns a replier whose encoder does not share memory with the original.
    fn clone(&self) -> Self {
        self.with_chunk_size(self.encoder.chunk_size())
    }
}

impl Replier {
    pub fn new(
        client: Client,
        connected: Connected,
        audit: Audit,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            client,
            connected,
            audit,
            counters,
            encoder: Encoder::new(CHUNK_SIZE),
        }
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Returns a copy of this replier that encodes into chunks of `chunk_size` bytes.
    #[must_use]
    pub fn with_chunk_size(&self, chunk_size: usize) -> Self {
        Self {
            client: self.client.clone(),
            connected: self.connected.clone(),
            audit: self.audit.clone(),
            counters: self.counters.clone(),
            encoder: Encoder::new(chunk_size),
        }
    }

    /// Replies to a request. While the NATS server is unreachable, the reply is dropped, and the
    /// requester repeats its request.
    pub async fn respond(&mut self, context: Box<RequestContext>, reply: Reply) {
        self.record([(&*context, &reply)].into_iter());
        let mut connected = self.connected.clone();
        tokio::select! {
            biased;
            () = self.send(context, &reply, None) => {}
            () = connected.lost() => {}
        }
    }

    /// Counts replies and writes all their audit lines at once. This is the first half of
    /// [`respond`](Self::respond), for the replies of a whole batch.
    pub(super) fn record<'a>(
        &self,
        replies: impl Iterator<Item = (&'a RequestContext, &'a Reply)> + Clone,
    ) {
        for (context, reply) in replies.clone() {
            if let (Some(endpoint), Some(request)) = (context.endpoint(), &context.request)
                && is_from_client(request)
            {
                self.counters.count_reply(endpoint, reply);
            }
        }
        let audited =
            replies.filter_map(|(context, reply)| Some((context.audit.as_deref()?, reply)));
        self.audit.record_replies(audited, &self.counters);
    }

    /// Replies to a request of service discovery. Drops the reply if the request names no reply
    /// subject, or one that is not allowed.
    pub async fn respond_to_discovery(&mut self, request: &Message, reply: &impl Serialize) {
        let Some(inbox) = request.reply.clone() else {
            return;
        };
        if !subjects::is_allowed_reply_subject(&request.subject, &inbox) {
            return;
        }
        let payload = self.encoder.encode(reply);
        let mut connected = self.connected.clone();
        tokio::select! {
            biased;
            // A reply that cannot be sent concerns its requester only.
            _ = self.client.publish(inbox, payload) => {}
            () = connected.lost() => {}
        }
    }

    /// Ends the request's span and publishes the reply. This is the second half of
    /// [`respond`](Self::respond).
    pub(super) async fn send(
        &mut self,
        mut context: Box<RequestContext>,
        reply: &Reply,
        timing: Option<CommitTiming>,
    ) {
        let context = &mut *context;
        if let Some(span) = &mut context.span {
            spans::finish_request(span, context.audit.as_deref(), reply, timing);
        }
        if let Some(request) = context.request.take() {
            self.publish(context, request, reply).await;
        }
    }

    /// Publishes a reply. Drops the reply if the request names no reply subject, or one that is not
    /// an inbox.
    async fn publish(&mut self, context: &RequestContext, request: Message, reply: &Reply) {
        let Some(inbox) = request.reply else {
            return;
        };
        let length = inbox.len();
        let channel = context.endpoint().and_then(Endpoint::channel);
        let counters = &self.counters;
        let count = |cause, what: &dyn std::fmt::Display| {
            let ignored = Ignored::new(context.source, cause, length)
                .with_subject(channel, &request.subject)
                .with_operation(context.operation_id);
            counters.count_ignored(&ignored, what);
        };
        if !subjects::is_allowed_reply_subject(&request.subject, &inbox) {
            count(Cause::ReplySubject, &"no reply is sent");
            return;
        }
        if let Reply::Recorded(ResultRecorded {
            detail: Some(detail),
            ..
        }) = reply
        {
            count(Cause::UnknownOperation, detail);
        }
        let (headers, payload) = encode_reply(&mut self.encoder, reply);
        let sent = match headers {
            Some(headers) => (self.client.publish_with_headers(inbox, headers, payload)).await,
            None => self.client.publish(inbox, payload).await,
        };
        if let Err(error) = sent {
            count(Cause::ReplyFailed, &error);
        }
        if let Some(endpoint) = context.endpoint() {
            let time = context.received_at.elapsed();
            counters.service.add_processing_time(endpoint, time);
        }
    }
}

/// Returns whether a request comes from a client or an agent, and not from a leader.
fn is_from_client(request: &Message) -> bool {
    !subjects::is_partition_request(&request.subject)
}

/// Returns the headers and the payload of a reply. Only a rejection has headers.
pub fn encode_reply(encoder: &mut Encoder, reply: &Reply) -> (Option<HeaderMap>, Bytes) {
    match reply {
        Reply::Rejected(error_reply) => (
            Some(error_headers(error_reply)),
            encoder.encode(&ErrorReplyBody::from(error_reply.clone())),
        ),
        reply => (None, encoder.encode(reply)),
    }
}

fn error_headers(error_reply: &ErrorReply) -> HeaderMap {
    let mut map = HeaderMap::new();
    // The message may quote the request, and a line break in it would begin another header.
    let message = escape_hidden(&error_reply.message);
    map.insert(
        headers::SERVICE_ERROR,
        truncate_chars(&message, MAX_ERROR_HEADER).as_ref(),
    );
    map.insert(
        headers::SERVICE_ERROR_CODE,
        error_reply.code.status().to_string().as_str(),
    );
    map
}
