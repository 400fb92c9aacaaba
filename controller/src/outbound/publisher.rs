//! Publishes committed batches: first the replies, through `replier`, then the commands and
//! broadcasts.

use async_nats::{Client, HeaderMap, PublishError, Subject};
use bytes::Bytes;
use scuttle_core::{Effect, Trace};
use scuttle_schemas::headers;
use scuttle_schemas::subjects::{self, AgentChannel};
use tokio::sync::mpsc::Receiver;
use tracing::{debug, warn};

use crate::admission::quarantine::Quarantine;
use crate::engine::CommittedBatch;
use crate::leadership::lease::LeaseGuard;
use crate::leadership::term::StopReason;
use crate::nats::connection::Connected;
use crate::observability::audit::Audit;
use crate::observability::event_log::{self, EventLog};
use crate::observability::spans;
use crate::outbound::encoder::Encoder;
use crate::outbound::replier::Replier;
use crate::partition::assignment::PartitionAssignment;
use crate::partition::relay_format;
use crate::request::context::RequestContext;

/// Sends the replies and effects of committed batches, in commit order.
#[derive(Debug)]
pub struct Publisher {
    pub client: Client,
    pub connected: Connected,
    /// The lease of this leader. After it has expired, every reply is replaced with `not_leader`
    /// and effects are dropped, because another controller may have written to the journal.
    pub lease: LeaseGuard,
    pub assignment: PartitionAssignment,
    pub replier: Replier,
    pub event_log: EventLog,
    /// The hosts whose reports are dropped, which the core decides.
    pub quarantine: Quarantine,
    pub audit: Audit,
}

type Batches = Vec<CommittedBatch<Box<RequestContext>>>;

impl Publisher {
    /// Sends batches until the engine has ended.
    ///
    /// While the NATS server is unreachable, messages are dropped, not queued: a requester repeats
    /// its request, the command of an operation is resent, and a subscriber detects the gap from
    /// the next revision.
    pub async fn run(mut self, mut outbox: Receiver<Batches>) {
        while let Some(mut batches) = outbox.recv().await {
            if !self.lease.is_valid() {
                let rejected = batches.into_iter();
                let rejected = rejected.map(|batch| batch.into_rejected(StopReason::SteppedDown));
                batches = rejected.collect();
            }
            // The replies are recorded even while the server is unreachable: an accepted change is
            // durable, whether or not its requester receives the reply.
            let replies = batches.iter().flat_map(|batch| &batch.replies);
            let replies = replies.map(|(context, reply)| (&**context, reply));
            self.replier.record(replies);
            for effect in batches.iter().flat_map(|batch| &batch.effects) {
                self.event_log.log_effect(effect);
                if let Effect::Quarantine { host, quarantined } = effect {
                    self.quarantine.set(host, *quarantined);
                    self.audit
                        .record_quarantine(host, *quarantined, self.replier.counters());
                }
            }
            let mut connected = self.connected.clone();
            tokio::select! {
                biased;
                () = connected.lost() => debug!("not everything was sent: the NATS server is unreachable"),
                () = self.send(batches) => {}
            }
        }
    }

    /// Sends the replies of all batches first, because requesters wait for them, and then the
    /// effects. Correctness does not depend on this order.
    async fn send(&mut self, mut batches: Batches) {
        for batch in &mut batches {
            let timing = batch.timing();
            for (context, reply) in batch.replies.drain(..) {
                self.replier.send(context, &reply, timing).await;
            }
        }
        // The client writes the replies to the connection now, while the effects are encoded, which
        // takes longer.
        tokio::task::yield_now().await;
        for effect in batches.into_iter().flat_map(|batch| batch.effects) {
            if let Err(error) = self.publish(effect).await {
                warn!("cannot publish: {error}");
            }
        }
    }

    async fn publish(&mut self, mut effect: Effect) -> Result<(), PublishError> {
        let mut span = spans::start_command(&mut effect);
        if let Effect::Command { command, .. } = &effect {
            event_log::log_command(command);
        }
        let outgoing = encode_effect(&mut self.replier.encoder, effect, self.assignment);
        let Some(Outgoing {
            subject,
            headers,
            payload,
        }) = outgoing
        else {
            return Ok(());
        };
        let client = &self.client;
        let sent = match headers {
            None => client.publish(subject, payload).await,
            Some(headers) => client.publish_with_headers(subject, headers, payload).await,
        };
        if let (Some(span), Err(error)) = (&mut span, &sent) {
            span.set_error("unsent", error.to_string());
        }
        sent
    }
}

/// An encoded command or broadcast.
#[derive(Debug)]
pub struct Outgoing {
    pub subject: Subject,
    pub headers: Option<HeaderMap>,
    pub payload: Bytes,
}

/// Encodes an effect of a partition's leader. Returns `None` for an effect that is not published.
/// Unless the partition is the first, a broadcast is
/// addressed to the first partition's leader, which relays it.
pub fn encode_effect(
    encoder: &mut Encoder,
    effect: Effect,
    assignment: PartitionAssignment,
) -> Option<Outgoing> {
    let relay_header = if assignment.is_first() {
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
        Effect::Quarantine { .. } => return None,
    };
    Some(Outgoing {
        subject: assignment.publish_subject(subject),
        headers: trace.map(|trace| trace_headers(&trace)),
        payload: match relay_header {
            Some(header) => [header.as_bytes(), &payload].concat().into(),
            None => payload,
        },
    })
}

fn trace_headers(trace: &Trace) -> HeaderMap {
    let mut map = HeaderMap::new();
    map.insert(headers::TRACEPARENT, &**trace);
    map
}
