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

/// Returns the prefix of the reply subjects of a connection.
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
