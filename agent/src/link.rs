//! The way to NATS: one connection, which many agents may share, and what may go wrong on it. Which
//! subjects and messages there are is not known here.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, ConnectOptions, Event, HeaderMap, Subject};
use bytes::Bytes;
use scuttle_nats::{ConnectConfig, ConnectConfigError, hint};
use scuttle_schemas::HostId;
use scuttle_schemas::headers::TRACEPARENT;
use serde::Serialize;
use tokio::sync::watch;

/// The most messages that wait at one subscription; the newest are dropped beyond that, and are sent again.
const SUBSCRIPTION_CAPACITY: usize = 1024;
/// How long a message may wait for room on a connection that looks up.
const SEND_LIMIT: Duration = Duration::from_secs(5);
/// How often a connection that is down is looked at, beside its own events (which may be lost).
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// How often the server is asked whether it lives.
const PING_INTERVAL: Duration = Duration::from_secs(15);
/// The longest wait between two attempts to connect, in milliseconds.
const LONGEST_WAIT_MS: u64 = 4_000;

/// Faults on the way, for simulators.
#[derive(Clone)]
pub struct Faults {
    /// While false, nothing gets through, and the agent sees its connection down.
    pub reachable: watch::Receiver<bool>,
    /// How many copies of the next message the network delivers.
    pub copies: Arc<dyn Fn() -> usize + Send + Sync>,
}

/// A connection to NATS; clones share it.
#[derive(Clone)]
pub struct Link {
    client: Client,
    connects: watch::Receiver<u64>,
    faults: Option<Faults>,
}

impl Link {
    /// Connects, and waits until a server is there: one line in the log says for what. Later losses are
    /// mended for ever. `inbox` is the prefix of the subjects on which it is answered, where the server allows it
    /// no other.
    ///
    /// # Errors
    /// Only what no waiting mends.
    pub async fn connect(
        name: &str,
        access: &ConnectConfig,
        inbox: Option<&str>,
    ) -> Result<Self, ConnectConfigError> {
        let addresses = access.server_addresses()?;
        let server = addresses.iter();
        let server = server.map(|address| format!("{}:{}", address.host(), address.port()));
        let server = server.collect::<Vec<_>>().join(",");
        let (events, connects) = watch::channel(0);
        let events = Arc::new(events);
        let (mut said, mut attempts) = (None, 1);
        loop {
            let options = options(name, &server, access, inbox, events.clone())?;
            let error = match options.connect(&addresses).await {
                Ok(client) => {
                    if said.is_some() {
                        tracing::warn!(%server, "connected to NATS");
                    }
                    return Ok(Self {
                        client,
                        connects,
                        faults: None,
                    });
                }
                Err(error) => error,
            };
            if said != Some(error.kind()) {
                said = Some(error.kind());
                tracing::warn!(%server, cause = %error, "waiting for NATS: {}", hint(&error));
            }
            attempts += 1;
            tokio::time::sleep(reconnect_delay(attempts)).await;
        }
    }

    /// The same connection, with faults.
    #[must_use]
    pub fn with_faults(&self, faults: Faults) -> Self {
        Self {
            faults: Some(faults),
            ..self.clone()
        }
    }

    /// The NATS client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Which connection is up, counted from 1; `None`: none is.
    pub(crate) fn connection(&self) -> Option<u64> {
        let reachable = self
            .faults
            .as_ref()
            .is_none_or(|faults| *faults.reachable.borrow());
        (reachable && self.client.connection_state() == State::Connected)
            .then(|| *self.connects.borrow())
    }

    /// Returns when `connection` may say something else.
    pub(crate) async fn changed(&mut self) {
        let down = self.connection().is_none();
        // A sender that is gone says nothing more.
        let connects = async {
            if self.connects.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let reachable = async {
            let changed = match &mut self.faults {
                Some(faults) => faults.reachable.changed().await.is_ok(),
                None => false,
            };
            if !changed {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = connects => {}
            () = reachable => {}
            () = tokio::time::sleep(LOOK_AGAIN), if down => {}
        }
    }

    /// Publishes; a message that finds no connection is dropped, so that none is sent long after it was
    /// true.
    pub(crate) async fn publish<T: Serialize>(
        &self,
        host_uuid: &HostId,
        subject: &Subject,
        reply: Option<String>,
        traceparent: Option<String>,
        message: &T,
    ) {
        let payload = match serde_json::to_vec(message) {
            Ok(payload) => Bytes::from(payload),
            Err(error) => {
                return tracing::error!(%host_uuid, %subject, %error, "cannot write a message");
            }
        };
        let traceparent = traceparent.as_deref();
        let copies = self.faults.as_ref().map_or(1, |faults| (faults.copies)());
        for _ in 0..copies {
            if self.connection().is_none() {
                return;
            }
            let (subject, reply) = (subject.clone(), reply.clone());
            let sent = self.publish_once(subject.clone(), reply, traceparent, payload.clone());
            match tokio::time::timeout(SEND_LIMIT, sent).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%host_uuid, %subject, %error, "cannot publish"),
                Err(_) => {
                    tracing::debug!(%host_uuid, %subject, "dropped a message: the connection takes none");
                }
            }
        }
    }

    async fn publish_once(
        &self,
        subject: Subject,
        reply: Option<String>,
        traceparent: Option<&str>,
        payload: Bytes,
    ) -> Result<(), async_nats::PublishError> {
        let headers = traceparent.map(|traceparent| {
            let mut headers = HeaderMap::new();
            headers.insert(TRACEPARENT, traceparent);
            headers
        });
        let client = &self.client;
        match (reply, headers) {
            (None, None) => client.publish(subject, payload).await,
            (None, Some(headers)) => client.publish_with_headers(subject, headers, payload).await,
            (Some(reply), None) => client.publish_with_reply(subject, reply, payload).await,
            (Some(reply), Some(headers)) => {
                client
                    .publish_with_reply_and_headers(subject, reply, headers, payload)
                    .await
            }
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("connection", &self.connection())
            .finish_non_exhaustive()
    }
}

fn options(
    name: &str,
    server: &str,
    access: &ConnectConfig,
    inbox: Option<&str>,
    events: Arc<watch::Sender<u64>>,
) -> Result<ConnectOptions, ConnectConfigError> {
    let mut options = access.connect_options()?;
    if let Some(inbox) = inbox {
        options = options.custom_inbox_prefix(inbox);
    }
    let (server, said) = (server.to_owned(), Mutex::new(None));
    Ok(options
        .name(name)
        .max_reconnects(None)
        .ping_interval(PING_INTERVAL)
        .subscription_capacity(SUBSCRIPTION_CAPACITY)
        .reconnect_delay_callback(reconnect_delay)
        .event_callback(move |event| {
            happened(&server, &event, &events, &said);
            std::future::ready(())
        }))
}

/// Tells waiting agents of a change, and the log what it has not been told last.
fn happened(
    server: &str,
    event: &Event,
    connects: &watch::Sender<u64>,
    said: &Mutex<Option<String>>,
) {
    match event {
        Event::Connected => connects.send_modify(|count| *count += 1),
        Event::Disconnected => connects.send_modify(|_| {}),
        _ => {}
    }
    let text = match event {
        // A flood of these is one fact: more came than was taken.
        Event::SlowConsumer(_) => {
            "messages came faster than they were taken; the newest were dropped".to_owned()
        }
        // All that the client knows of it is the text.
        Event::ClientError(error) if error.to_string().contains("authorization violation") => {
            "the server lets this user in no more: was the host decommissioned, or given new credentials? Trying on".to_owned()
        }
        event => event.to_string(),
    };
    let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
    if said.as_ref() == Some(&text) {
        return;
    }
    match event {
        // The first connection is what `connect` waits for, and the end is what the program wanted.
        Event::Connected if said.is_none() => {}
        Event::Closed => {}
        _ => tracing::warn!(%server, "NATS: {text}"),
    }
    *said = Some(text);
}

/// Full jitter, so that agents which lost one server together do not come back together.
fn reconnect_delay(attempts: usize) -> Duration {
    let longest = 50_u64
        .saturating_mul(1 << attempts.min(16))
        .min(LONGEST_WAIT_MS);
    Duration::from_millis(RandomState::new().hash_one(attempts) % longest)
}
