//! The connection to the NATS server, and requests over it. Each command decides which requests to
//! send.
//!
//! If the server denies a request, it reports an event of the connection instead of a reply. Each
//! request therefore waits for either a reply or such an event.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::{ConnectErrorKind, Event, HeaderMap, Request, RequestErrorKind};
use scuttle_nats::Credentials;
use scuttle_schemas::{ErrorCode, ErrorReplyBody, HostName, headers, read, subjects};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OnceCell, broadcast};
use uuid::Uuid;

use super::client_error::{ClientError, REQUEST_TIMEOUT};
use super::connection::Connection;

/// The maximum number of connection events that are buffered for each receiver.
const MAX_BUFFERED_EVENTS: usize = 64;

/// The maximum number of attempts of an idempotent request.
const MAX_ATTEMPTS: usize = 3;

/// The default delay between two attempts. A controller that restarts is back within about a
/// second.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// The maximum time for which a request is repeated while no controller answers. A standby
/// controller usually takes over within this time.
const FAILOVER_TIME: Duration = Duration::from_secs(3);

/// The delay between two attempts during a failover.
const FAILOVER_RETRY_DELAY: Duration = Duration::from_millis(200);

/// The maximum delay between two attempts. If the controller requests a longer delay, there is no
/// further attempt.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(10);

/// The time after the first attempt in which further attempts start.
const MAX_RETRY_TIME: Duration = Duration::from_secs(20);

/// Returns whether a later attempt may find a controller that leads. `may_repeat` is true if the
/// request may take effect twice: a leader that was deposed cannot know whether its successor has
/// the request on record.
fn is_failover(error: &ClientError, may_repeat: bool) -> bool {
    match error {
        ClientError::NoController { .. } => true,
        ClientError::Rejected(error) => {
            may_repeat && matches!(error.code, ErrorCode::NotLeader | ErrorCode::ShuttingDown)
        }
        _ => false,
    }
}

/// A change in the state of the connection, or an error that the server reported over it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ConnectionEvent {
    ServerError(String),
    /// The connection is lost. The client reconnects automatically.
    Disconnected,
    /// The connection is established, for the first time or again.
    Connected,
}

/// A connection to the NATS server as one user. Clones share the connection.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    nats: async_nats::Client,
    user: String,
    /// A description of the swarm, for questions and results.
    swarm: String,
    events: broadcast::Sender<ConnectionEvent>,
    /// The hosts on which a limited operator may tear down, once a command needs them.
    permitted_hosts: Arc<OnceCell<Vec<HostName>>>,
}

impl Client {
    /// Connects to the server in a single attempt. An established connection that is lost is
    /// restored automatically.
    pub(crate) async fn connect(connection: &Connection) -> Result<Self, ClientError> {
        let config = &connection.config;
        let swarm = connection.swarm();
        if let Some(context) = &connection.ignored_context {
            eprintln!(
                "Using the swarm at {swarm}, not the selected NATS context {context}; give `--context {context}` to use that context."
            );
        }
        let (events, _) = broadcast::channel(MAX_BUFFERED_EVENTS);
        let sender = events.clone();
        let user = user_name(&config.credentials);
        let servers = config.server_addresses()?;
        let mut options = config
            .connect_options()?
            .name("scuttle")
            .event_callback(move |event| {
                let event = match event {
                    Event::ServerError(error) => {
                        Some(ConnectionEvent::ServerError(error.to_string()))
                    }
                    Event::Disconnected => Some(ConnectionEvent::Disconnected),
                    Event::Connected => Some(ConnectionEvent::Connected),
                    _ => None,
                };
                // Sending fails only while there is no receiver, and then the event is not needed.
                let _ = event.map(|event| sender.send(event));
                std::future::ready(())
            });
        let prefix =
            (connection.inbox_prefix.clone()).or_else(|| config.credentials.inbox_prefix());
        if let Some(prefix) = prefix {
            options = options.custom_inbox_prefix(prefix);
        }
        match options.connect(servers).await {
            Ok(nats) => Ok(Self {
                nats,
                user,
                swarm,
                events,
                permitted_hosts: Arc::default(),
            }),
            Err(cause) => {
                let url = config.url.clone();
                Err(match cause.kind() {
                    ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
                        ClientError::LoginRejected {
                            url,
                            user,
                            is_anonymous: config.credentials == Credentials::Anonymous,
                            cause,
                        }
                    }
                    _ => ClientError::Unreachable {
                        url,
                        is_default: connection.is_default_address(),
                        cause,
                    },
                })
            }
        }
    }

    /// Returns the name of the logged-in user, for messages.
    pub(crate) fn user(&self) -> &str {
        &self.user
    }

    /// Returns a description of the swarm, for questions and results: the server, and where its
    /// address and the login come from.
    pub(crate) fn swarm(&self) -> &str {
        &self.swarm
    }

    /// Returns the cell that keeps the hosts on which a limited operator may tear down.
    pub(super) fn permitted_hosts(&self) -> &OnceCell<Vec<HostName>> {
        &self.permitted_hosts
    }

    /// Returns the underlying NATS client.
    pub(crate) fn nats(&self) -> &async_nats::Client {
        &self.nats
    }

    /// Returns a receiver for all later events of the connection. A receiver that falls more than
    /// [`MAX_BUFFERED_EVENTS`] events behind misses the oldest of them.
    pub(crate) fn events(&self) -> broadcast::Receiver<ConnectionEvent> {
        self.events.subscribe()
    }

    /// Subscribes to a subject. If a request is sent later on this connection, the subscription
    /// misses none of the messages that the request causes.
    pub(crate) async fn subscribe(
        &self,
        subject: &str,
    ) -> Result<async_nats::Subscriber, ClientError> {
        let subscribed = self.nats.subscribe(subject.to_owned()).await;
        subscribed.map_err(|error| ClientError::Failed {
            subject: subject.to_owned(),
            cause: error.to_string(),
        })
    }

    /// Sends a request to the controller, and returns the reply. If no controller answers, repeats
    /// the request for up to [`FAILOVER_TIME`]: no controller has received the request, so it
    /// cannot take effect twice. Requests that only read are also repeated if the controller has
    /// stepped down or is shutting down.
    pub(crate) async fn request<A: DeserializeOwned>(
        &self,
        subject: &str,
        request: &impl Serialize,
    ) -> Result<A, ClientError> {
        self.request_with_headers(subject, HeaderMap::new(), request)
            .await
    }

    /// Sends a request with headers, and sends it again while no controller answers, as
    /// [`request`](Self::request) does.
    async fn request_with_headers<A: DeserializeOwned>(
        &self,
        subject: &str,
        headers: HeaderMap,
        request: &impl Serialize,
    ) -> Result<A, ClientError> {
        let started = Instant::now();
        let may_repeat =
            subjects::READ_REQUESTS.contains(&subject) || headers.get(headers::MSG_ID).is_some();
        loop {
            let reply = self.request_once(subject, headers.clone(), request).await;
            match reply {
                Err(error)
                    if is_failover(&error, may_repeat) && started.elapsed() < FAILOVER_TIME =>
                {
                    tokio::time::sleep(FAILOVER_RETRY_DELAY).await;
                }
                // A viewer, and an operator who is limited to hosts, may send requests that read.
                Err(ClientError::PermissionDenied { user, subject, .. })
                    if subjects::CHANGE_REQUESTS.contains(&subject.as_str()) =>
                {
                    let read = self.request_raw(
                        subjects::OPERATIONS_LIST,
                        HeaderMap::new(),
                        br#"{"limit":1}"#.to_vec(),
                    );
                    let may_read = !matches!(read.await, Err(ClientError::PermissionDenied { .. }));
                    return Err(ClientError::PermissionDenied {
                        user,
                        subject,
                        may_read,
                    });
                }
                reply => return reply,
            }
        }
    }

    /// Sends a request that must not take effect twice, in up to [`MAX_ATTEMPTS`] attempts within
    /// [`MAX_RETRY_TIME`].
    ///
    /// All attempts carry the same idempotency key. If the controller's reply to one attempt is
    /// lost, the next attempt gets the same reply.
    pub(crate) async fn request_idempotent<A: DeserializeOwned>(
        &self,
        subject: &str,
        request: &impl Serialize,
    ) -> Result<A, ClientError> {
        let key = Uuid::now_v7().to_string();
        let started = Instant::now();
        let mut last_error = None;
        for attempts_left in (0..MAX_ATTEMPTS).rev() {
            let mut headers = HeaderMap::new();
            headers.insert(headers::MSG_ID, key.as_str());
            let delay = match self.request_with_headers(subject, headers, request).await {
                Err(ClientError::Rejected(error)) => {
                    let delay = error.retry_after_ms.map(Duration::from_millis);
                    let error = ClientError::Rejected(error);
                    // A longer delay would look like a command that hangs.
                    let Some(delay) = delay.filter(|delay| *delay <= MAX_RETRY_DELAY) else {
                        return Err(error);
                    };
                    last_error = Some(error);
                    delay
                }
                Err(error @ (ClientError::TimedOut { .. } | ClientError::Failed { .. })) => {
                    last_error = Some(error);
                    RETRY_DELAY
                }
                // The controller was there at the first attempt, so it is restarting.
                Err(ClientError::NoController { .. }) if last_error.is_some() => RETRY_DELAY,
                reply => return reply,
            };
            if attempts_left == 0 || started.elapsed() + delay > MAX_RETRY_TIME {
                break;
            }
            tokio::time::sleep(delay).await;
        }
        Err(last_error.unwrap_or_else(|| ClientError::TimedOut {
            subject: subject.to_owned(),
        }))
    }

    async fn request_once<A: DeserializeOwned>(
        &self,
        subject: &str,
        headers: HeaderMap,
        request: &impl Serialize,
    ) -> Result<A, ClientError> {
        let payload = serde_json::to_vec(request).expect("every request serializes to JSON");
        let message = self.request_raw(subject, headers, payload).await?;
        let is_error = (message.headers.as_ref())
            .is_some_and(|headers| headers.get(headers::SERVICE_ERROR_CODE).is_some());
        let failed = |cause: &dyn std::fmt::Display| ClientError::Failed {
            subject: subject.to_owned(),
            cause: cause.to_string(),
        };
        if is_error {
            let body = read::<ErrorReplyBody>("error reply", &message.payload);
            return Err(body.map_or_else(
                |error| failed(&error),
                |body| ClientError::Rejected(body.error),
            ));
        }
        read("reply", &message.payload).map_err(|error| failed(&error))
    }

    /// Sends any bytes as a request, and returns the reply unparsed, even if it is an error reply.
    pub(crate) async fn request_raw(
        &self,
        subject: &str,
        headers: HeaderMap,
        payload: Vec<u8>,
    ) -> Result<async_nats::Message, ClientError> {
        let subject = subject.to_owned();
        let mut request = Request::new().payload(payload.into()).timeout(None);
        if !headers.is_empty() {
            request = request.headers(headers);
        }
        let events = self.events();
        let reply = self.nats.send_request(subject.clone(), request);
        tokio::select! {
            reply = tokio::time::timeout(REQUEST_TIMEOUT, reply) => match reply {
                Ok(Ok(message)) => Ok(message),
                Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => {
                    Err(ClientError::NoController { subject })
                }
                Ok(Err(error)) => Err(ClientError::Failed { subject, cause: error.to_string() }),
                Err(_) => Err(ClientError::TimedOut { subject }),
            },
            () = wait_until_denied(events, &subject) => {
                let user = self.user.clone();
                Err(ClientError::PermissionDenied { user, subject, may_read: false })
            }
        }
    }
}

/// Waits until the server denies a message or a subscription on this subject. Never returns if the
/// server does not.
pub(crate) async fn wait_until_denied(
    mut events: broadcast::Receiver<ConnectionEvent>,
    subject: &str,
) {
    let quoted = format!("\"{subject}\"");
    loop {
        match events.recv().await {
            Ok(ConnectionEvent::ServerError(error))
                if error.to_lowercase().contains("permissions violation")
                    && error.contains(&quoted) =>
            {
                return;
            }
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            // The connection is closed. The request itself fails, so there is nothing to report
            // here.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// Returns a name for the user of a login, for messages: the user name or the name in the
/// credentials file. If no name can be read from the file, returns the path of the file.
fn user_name(credentials: &Credentials) -> String {
    credentials.user().unwrap_or_else(|| match credentials {
        Credentials::File(path) => path.display().to_string(),
        _ => "an anonymous user".to_owned(),
    })
}
