//! Connections to NATS, and the messages that travel between them.

use async_nats::{HeaderMap, Message, Subject};
use bytes::Bytes;

/// A participant's connection to NATS. The number is the index of the controller, host or
/// subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Connection {
    Controller(usize),
    Agent(usize),
    /// The connection that all operators share. It never breaks, but its messages may be lost.
    Operator,
    Subscriber(usize),
}

/// A message on its way to a receiver.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) to: Connection,
    pub(crate) message: Message,
}

/// The prefix of the reply subjects that the NATS server assigns to the requests of operators and
/// viewers, who are in other accounts than the controllers.
pub(crate) const CLIENT_REPLIES: &str = "_R_";

pub(crate) fn build_message(
    subject: &str,
    reply: Option<&str>,
    headers: Option<HeaderMap>,
    payload: Bytes,
) -> Message {
    Message {
        subject: subject.into(),
        reply: reply.map(Subject::from),
        length: payload.len(),
        payload,
        headers,
        status: None,
        description: None,
    }
}
