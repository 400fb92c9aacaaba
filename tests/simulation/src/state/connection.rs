//! Connections to NATS, and the messages that travel between them.

use async_nats::{HeaderMap, Message, Subject};
use bytes::Bytes;

/// Who has a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Connection {
    Controller(usize),
    Agent(usize),
    /// Operators and subscribers never lose theirs: what they lose is messages.
    Operator,
    Subscriber(usize),
}

/// A message on its way.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) to: Connection,
    pub(crate) message: Message,
}

/// The inbox of one connection.
pub(crate) fn inbox_prefix(connection: Connection) -> String {
    match connection {
        Connection::Controller(controller) => format!("_INBOX.c{controller}"),
        Connection::Agent(host) => format!("_INBOX.a{host}"),
        Connection::Operator => "_INBOX.o".to_owned(),
        Connection::Subscriber(subscriber) => format!("_INBOX.s{subscriber}"),
    }
}

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
