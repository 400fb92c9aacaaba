//! A connection to NATS that many agents may share, and that is restored when it is lost. This
//! module knows nothing about particular subjects and messages.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, ConnectOptions, Event, HeaderMap, Subject};
use bytes::Bytes;
use scuttle_nats::{ConnectConfig, ConnectConfigError, hint, outage};
use scuttle_schemas::HostId;
use scuttle_schemas::headers::TRACEPARENT;
use serde::Serialize;
use tokio::sync::watch;

/// The maximum number of messages that wait in one subscription. Further messages are dropped, and
/// their senders resend them.
const SUBSCRIPTION_CAPACITY: usize = 1024;
/// The maximum duration for which a message waits for space in the client's send buffer while the
/// connection is up.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(5);
/// The interval at which the state of a lost connection is checked, because events may be missed.
const STATE_POLL_INTERVAL: Duration = Duration::from_millis(250);
const PING_INTERVAL: Duration = Duration::from_secs(15);
/// The bounds of the delay between two attempts to connect, in milliseconds, before jitter.
const MIN_RECONNECT_DELAY_MS: u64 = 50;
const MAX_RECONNECT_DELAY_MS: u64 = 4_000;

/// Faults that a simulator injects into a connection.
#[derive(Clone)]
pub struct InjectedFaults {
    /// While false, no message passes, and the connection appears to the agent to be down.
    pub reachable: watch::Receiver<bool>,
    /// A function that returns how many copies of the next message to send.
    pub copies: Arc<dyn Fn() -> usize + Send + Sync>,
}

/// A connection to NATS. Clones share it.
#[derive(Clone)]
pub struct Connection {
    client: Client,
    /// The number of connections that have been established so far.
    sessions: watch::Receiver<u64>,
    faults: Option<InjectedFaults>,
}

/// A message to publish.
pub(crate) struct Outgoing<'a, T> {
    pub(crate) subject: &'a Subject,
    pub(crate) reply_to: Option<String>,
    pub(crate) traceparent: Option<String>,
    pub(crate) message: &'a T,
}

impl Connection {
    /// Connects, and retries until a server is available. Logs a failure when it differs in kind
    /// from the previous one. After the first success, the connection is restored whenever it is
    /// lost. `inbox` is the prefix of reply subjects, in case the server allows this user only that
    /// prefix.
    ///
    /// # Errors
    /// If the configuration is invalid, which no retry can fix.
    pub async fn connect(
        name: &str,
        config: &ConnectConfig,
        inbox: Option<&str>,
    ) -> Result<Self, ConnectConfigError> {
        let addresses = config.server_addresses()?;
        let server = addresses.iter();
        let server = server.map(|address| format!("{}:{}", address.host(), address.port()));
        let server = server.collect::<Vec<_>>().join(",");
        let (events, sessions) = watch::channel(0);
        let events = Arc::new(events);
        let mut logged = None;
        let mut attempts = 1;
        loop {
            let options =
                connect_options(config, inbox)?
                    .name(name)
                    .event_callback(event_callback(
                        config.clone(),
                        server.clone(),
                        events.clone(),
                    ));
            let error = match options.connect(&addresses).await {
                Ok(client) => {
                    if logged.is_some() {
                        tracing::warn!(%server, "connected to NATS");
                    }
                    return Ok(Self {
                        client,
                        sessions,
                        faults: None,
                    });
                }
                Err(error) => error,
            };
            if logged != Some(error.kind()) {
                logged = Some(error.kind());
                tracing::warn!(%server, cause = %error, "waiting for NATS: {}", hint(&error));
            }
            attempts += 1;
            tokio::time::sleep(reconnect_delay(attempts)).await;
        }
    }

    /// Returns a handle to the same connection with injected faults.
    #[must_use]
    pub fn with_faults(&self, faults: InjectedFaults) -> Self {
        Self {
            faults: Some(faults),
            ..self.clone()
        }
    }

    /// Returns the NATS client. Messages that it publishes bypass the injected faults.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Returns the number of the current connection, counted from 1, or `None` while the connection
    /// is down.
    pub(crate) fn session(&self) -> Option<u64> {
        let reachable = self
            .faults
            .as_ref()
            .is_none_or(|faults| *faults.reachable.borrow());
        (reachable && self.client.connection_state() == State::Connected)
            .then(|| *self.sessions.borrow())
    }

    /// Waits until the return value of `session` may have changed.
    pub(crate) async fn wait_for_change(&mut self) {
        let down = self.session().is_none();
        // If the sender is gone, no further change follows.
        let sessions = async {
            if self.sessions.changed().await.is_err() {
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
            () = sessions => {}
            () = reachable => {}
            () = tokio::time::sleep(STATE_POLL_INTERVAL), if down => {}
        }
    }

    /// Publishes a message. Drops it if the send buffer stays full, or if the connection is down,
    /// because it may be outdated when the connection is back.
    pub(crate) async fn publish<T: Serialize>(
        &self,
        host_uuid: &HostId,
        outgoing: Outgoing<'_, T>,
    ) {
        let Outgoing {
            subject,
            reply_to,
            traceparent,
            message,
        } = outgoing;
        let payload = match serde_json::to_vec(message) {
            Ok(payload) => Bytes::from(payload),
            Err(error) => {
                return tracing::error!(%host_uuid, %subject, %error, "cannot write a message");
            }
        };
        let traceparent = traceparent.as_deref();
        let copies = self.faults.as_ref().map_or(1, |faults| (faults.copies)());
        for _ in 0..copies {
            if self.session().is_none() {
                return;
            }
            let (subject, reply) = (subject.clone(), reply_to.clone());
            let sent = self.publish_once(subject.clone(), reply, traceparent, payload.clone());
            match tokio::time::timeout(PUBLISH_TIMEOUT, sent).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%host_uuid, %subject, %error, "cannot publish"),
                Err(_) => {
                    tracing::debug!(%host_uuid, %subject, "dropped a message: the send buffer is full");
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

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("session", &self.session())
            .finish_non_exhaustive()
    }
}

fn connect_options(
    config: &ConnectConfig,
    inbox: Option<&str>,
) -> Result<ConnectOptions, ConnectConfigError> {
    let mut options = config.connect_options()?;
    if let Some(inbox) = inbox {
        options = options.custom_inbox_prefix(inbox);
    }
    Ok(options
        .max_reconnects(None)
        .ping_interval(PING_INTERVAL)
        .subscription_capacity(SUBSCRIPTION_CAPACITY)
        .reconnect_delay_callback(reconnect_delay))
}

/// Returns a callback that counts connections and logs events, except repeats of the last event.
/// While a lost connection is not restored, it also logs why.
fn event_callback(
    config: ConnectConfig,
    server: String,
    sessions: Arc<watch::Sender<u64>>,
) -> impl Fn(Event) -> std::future::Ready<()> + Send + Sync {
    let last = Mutex::new(None);
    move |event| {
        match event {
            Event::Connected => sessions.send_modify(|count| *count += 1),
            Event::Disconnected => {
                let established = sessions.subscribe();
                let count = *established.borrow();
                sessions.send_modify(|_| {});
                let (config, server) = (config.clone(), server.clone());
                tokio::spawn(log_outage(config, server, established, count));
            }
            _ => {}
        }
        log_event(&server, &event, &last);
        std::future::ready(())
    }
}

/// Logs why the connection is not restored, until it is. `sessions` has the number of connections
/// so far, and `lost` is the number of the lost connection.
async fn log_outage(
    config: ConnectConfig,
    server: String,
    mut sessions: watch::Receiver<u64>,
    lost: u64,
) {
    let log = |cause: &str| tracing::warn!(%server, "cannot reconnect to NATS: {cause}");
    tokio::select! {
        // Also ends if the connection was dropped.
        _ = sessions.wait_for(|session| *session > lost) => {}
        () = outage::log_causes(&config, log) => {}
    }
}

fn log_event(server: &str, event: &Event, last: &Mutex<Option<String>>) {
    let text = match event {
        // Without the details that differ between events, a flood of them is logged once.
        Event::SlowConsumer(_) => {
            "messages arrived faster than they were processed; the newest were dropped".to_owned()
        }
        // The client reports this error only as text.
        Event::ClientError(error) if error.to_string().contains("authorization violation") => {
            "the server no longer accepts this user; check whether the host was decommissioned or given new credentials. Still retrying".to_owned()
        }
        Event::ServerError(error) if is_denial(error) => {
            format!("the NATS server denies a permission that the agent needs ({error}); the credentials may be those of another host: check --host-uuid and the credentials")
        }
        event => event.to_string(),
    };
    // Denials of different subjects count as repeats, so that they do not flood the log.
    let kind = match event {
        Event::ServerError(error) if is_denial(error) => "permission denied".to_owned(),
        _ => text.clone(),
    };
    let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
    if last.as_ref() == Some(&kind) {
        return;
    }
    match event {
        // `connect` waits for the first connection itself.
        Event::Connected if last.is_none() => {}
        // The program closed the connection.
        Event::Closed => {}
        _ => tracing::warn!(%server, "NATS: {text}"),
    }
    *last = Some(kind);
}

fn is_denial(error: &async_nats::ServerError) -> bool {
    (error.to_string().to_lowercase()).contains("permissions violation")
}

/// Returns a random delay whose upper bound grows exponentially, so that agents that lost the
/// server together do not all reconnect at the same moment.
fn reconnect_delay(attempts: usize) -> Duration {
    let max = MIN_RECONNECT_DELAY_MS
        .saturating_mul(1 << attempts.min(16))
        .min(MAX_RECONNECT_DELAY_MS);
    Duration::from_millis(RandomState::new().hash_one(attempts) % max)
}
