//! A request and its answer: what came instead of an answer is told as what it is. A server that refuses a message says so
//! on the connection, not to the one that waits; so both are listened to. What is asked is each verb's own.

use std::time::Duration;

use async_nats::{ConnectErrorKind, Event, HeaderMap, Request, RequestErrorKind};
use scuttle_nats::{ConnectConfigError, Credentials, hint};
use scuttle_schemas::{ErrorCode, ErrorReply, ErrorReplyBody, headers, read};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use uuid::Uuid;

use crate::connect::Connection;
use crate::jwt::Claims;
use crate::jwt::claims::User;

/// How long an answer may take: an acceptance waits for a disk, and for nothing else.
const ANSWER: Duration = Duration::from_secs(10);

/// The most signs that wait to be read: one request makes one or two.
const SIGNS: usize = 64;

/// How often a change is asked for until its answer comes.
const TRIES: usize = 3;

/// Between two of them: a controller is back within a second.
const PAUSE: Duration = Duration::from_secs(1);

/// The same when the controller says for how long.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Why there is no acceptance.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// The login or the trust cannot be used.
    #[error(transparent)]
    ConnectConfig(#[from] ConnectConfigError),
    /// The server lets this user not in.
    #[error("refused: {user} may not connect to {url}: {}", hint(cause))]
    NotLetIn {
        /// The server.
        url: String,
        /// Who asked.
        user: String,
        /// What the server says.
        cause: async_nats::ConnectError,
    },
    /// No connection.
    #[error("cannot connect to {url}: {cause}; {}", hint(cause))]
    Unreachable {
        /// The server.
        url: String,
        /// Why not.
        cause: async_nats::ConnectError,
    },
    /// The server refuses the message.
    #[error(
        "refused: {user} may not publish on {subject}; use the credentials of a user who may (--nats-creds)"
    )]
    Denied {
        /// Who asked.
        user: String,
        /// What.
        subject: String,
    },
    /// The controller refuses the request.
    #[error("refused: {}", .0.message)]
    Refused(ErrorReply),
    /// Nobody listens.
    #[error(
        "no controller answers on {subject}: start scuttle-controller, or see why it is not connected"
    )]
    NoController {
        /// What was asked.
        subject: String,
    },
    /// Nothing came.
    #[error("no answer on {subject} within {} s; the request may have been accepted: ask again", ANSWER.as_secs())]
    TimedOut {
        /// What was asked.
        subject: String,
    },
    /// The connection broke, or the answer is none.
    #[error("{subject}: {cause}; the request may have been accepted: ask again")]
    Broken {
        /// What was asked.
        subject: String,
        /// What came.
        cause: String,
    },
}

/// A connection as one user. Its clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Bus {
    client: async_nats::Client,
    user: String,
    signs: broadcast::Sender<Sign>,
}

/// What the connection itself tells, apart from messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sign {
    /// The server complains.
    Complaint(String),
    /// The connection is lost; it is sought again.
    Lost,
    /// It is back.
    Back,
}

impl Bus {
    /// Connects, once.
    pub(crate) async fn connect(connection: &Connection) -> Result<Self, AskError> {
        let access = &connection.access;
        let (signs, _) = broadcast::channel(SIGNS);
        let tell = signs.clone();
        let user = user_of(&access.credentials);
        let servers = access.server_addresses()?;
        let mut options = access
            .connect_options()?
            .name("scuttle")
            .event_callback(move |event| {
                let sign = match event {
                    Event::ServerError(error) => Some(Sign::Complaint(error.to_string())),
                    Event::Disconnected => Some(Sign::Lost),
                    Event::Connected => Some(Sign::Back),
                    _ => None,
                };
                // Where nobody listens, nobody waits for it.
                let _ = sign.map(|sign| tell.send(sign));
                std::future::ready(())
            });
        if let Some(prefix) = &connection.inbox_prefix {
            options = options.custom_inbox_prefix(prefix);
        }
        match options.connect(servers).await {
            Ok(client) => Ok(Self {
                client,
                user,
                signs,
            }),
            Err(cause) => {
                let url = access.url.clone();
                Err(match cause.kind() {
                    ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
                        AskError::NotLetIn { url, user, cause }
                    }
                    _ => AskError::Unreachable { url, cause },
                })
            }
        }
    }

    /// Who asks.
    pub(crate) fn user(&self) -> &str {
        &self.user
    }

    /// The connection itself: to hear, and to see what the server says of itself.
    pub(crate) fn client(&self) -> &async_nats::Client {
        &self.client
    }

    /// What the connection tells from now on.
    pub(crate) fn signs(&self) -> broadcast::Receiver<Sign> {
        self.signs.subscribe()
    }

    /// Hears a subject from now on: what a later request on this connection causes is heard.
    pub(crate) async fn subscribe(
        &self,
        subject: &str,
    ) -> Result<async_nats::Subscriber, AskError> {
        let subscribed = self.client.subscribe(subject.to_owned()).await;
        subscribed.map_err(|error| AskError::Broken {
            subject: subject.to_owned(),
            cause: error.to_string(),
        })
    }

    /// Asks the controller.
    pub(crate) async fn ask<A: DeserializeOwned>(
        &self,
        subject: &str,
        request: &impl Serialize,
    ) -> Result<A, AskError> {
        self.ask_with(subject, HeaderMap::new(), request).await
    }

    /// Asks for a change that must not be made twice: with a key, by which an answer that was lost is asked for again.
    pub(crate) async fn ask_once<A: DeserializeOwned>(
        &self,
        subject: &str,
        request: &impl Serialize,
    ) -> Result<A, AskError> {
        let key = Uuid::now_v7().to_string();
        let mut lost = None;
        for tries_left in (0..TRIES).rev() {
            let mut headers = HeaderMap::new();
            headers.insert(headers::MSG_ID, key.as_str());
            let pause = match self.ask_with(subject, headers, request).await {
                Err(AskError::Refused(refusal)) if refusal.retry_after_ms.is_some() => {
                    let pause = refusal.retry_after_ms.unwrap_or_default();
                    lost = Some(AskError::Refused(refusal));
                    Duration::from_millis(pause).min(LONGEST_PAUSE)
                }
                Err(error @ (AskError::TimedOut { .. } | AskError::Broken { .. })) => {
                    lost = Some(error);
                    PAUSE
                }
                // It was there when it was asked first: it will be back.
                Err(AskError::NoController { .. }) if lost.is_some() => PAUSE,
                answer => return answer,
            };
            if tries_left > 0 {
                tokio::time::sleep(pause).await;
            }
        }
        Err(lost.unwrap_or_else(|| AskError::TimedOut {
            subject: subject.to_owned(),
        }))
    }

    async fn ask_with<A: DeserializeOwned>(
        &self,
        subject: &str,
        headers: HeaderMap,
        request: &impl Serialize,
    ) -> Result<A, AskError> {
        let payload = serde_json::to_vec(request).expect("a request is plain data");
        let message = self.raw(subject, headers, payload).await?;
        let refused = (message.headers.as_ref())
            .is_some_and(|all| all.get(headers::SERVICE_ERROR_CODE).is_some());
        let broken = |cause: &dyn std::fmt::Display| AskError::Broken {
            subject: subject.to_owned(),
            cause: cause.to_string(),
        };
        if refused {
            let body = read::<ErrorReplyBody>("refusal", &message.payload);
            return Err(
                body.map_or_else(|error| broken(&error), |body| AskError::Refused(body.error))
            );
        }
        read("answer", &message.payload).map_err(|error| broken(&error))
    }

    /// Sends any bytes, and gives the answer.
    pub(crate) async fn raw(
        &self,
        subject: &str,
        headers: HeaderMap,
        payload: Vec<u8>,
    ) -> Result<async_nats::Message, AskError> {
        let subject = subject.to_owned();
        let mut request = Request::new().payload(payload.into()).timeout(None);
        if !headers.is_empty() {
            request = request.headers(headers);
        }
        let signs = self.signs();
        let answer = self.client.send_request(subject.clone(), request);
        tokio::select! {
            answer = tokio::time::timeout(ANSWER, answer) => match answer {
                Ok(Ok(message)) => Ok(message),
                Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => {
                    Err(AskError::NoController { subject })
                }
                Ok(Err(error)) => Err(AskError::Broken { subject, cause: error.to_string() }),
                Err(_) => Err(AskError::TimedOut { subject }),
            },
            () = denied(signs, &subject) => Err(AskError::Denied { user: self.user.clone(), subject }),
        }
    }
}

impl AskError {
    /// The controller's refusal, if it is one.
    pub(crate) fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused(refusal) => Some(refusal.code),
            _ => None,
        }
    }
}

/// Returns when the server has refused a message on this subject, or to let it be heard.
pub(crate) async fn denied(mut signs: broadcast::Receiver<Sign>, subject: &str) {
    let quoted = format!("\"{subject}\"");
    loop {
        match signs.recv().await {
            Ok(Sign::Complaint(complaint))
                if complaint.to_lowercase().contains("permissions violation")
                    && complaint.contains(&quoted) =>
            {
                return;
            }
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            // The connection is gone, and what waits for the answer is told so.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// Who logs in, for messages.
fn user_of(login: &Credentials) -> String {
    match login {
        Credentials::Anonymous => "nobody".to_owned(),
        Credentials::Password { user, .. } => user.clone(),
        Credentials::File(path) => std::fs::read_to_string(path)
            .ok()
            .and_then(|text| {
                let token = text.lines().find(|line| line.starts_with("ey"))?;
                Some(Claims::<User>::read(token).ok()?.name)
            })
            .unwrap_or_else(|| path.display().to_string()),
    }
}
