//! A request and its answer: what came instead of an answer is told as what it is. A server that refuses a message says so
//! on the connection, not to the one that waits; so both are listened to. What is asked is each verb's own.

use std::time::Duration;

use async_nats::{ConnectErrorKind, Event, Request, RequestErrorKind};
use scuttle_bus::{Access, AccessError, Login, what_to_do};
use scuttle_schemas::{ErrorCode, Refusal, RefusalBody, headers, read};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use crate::jwt::Claims;
use crate::jwt::claims::User;

/// How long an answer may take: an acceptance waits for a disk, and for nothing else.
const ANSWER: Duration = Duration::from_secs(10);

/// The most complaints of the server that wait to be read: one request makes one or two.
const COMPLAINTS: usize = 16;

/// Why there is no acceptance.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// The login or the trust cannot be used.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The server lets this user not in.
    #[error("refused: {user} may not connect to {url}: {}", what_to_do(cause))]
    NotLetIn {
        /// The server.
        url: String,
        /// Who asked.
        user: String,
        /// What the server says.
        cause: async_nats::ConnectError,
    },
    /// No connection.
    #[error("cannot connect to {url}: {cause}; {}", what_to_do(cause))]
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
    Refused(Refusal),
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

/// A connection as one user.
#[derive(Debug)]
pub(crate) struct Bus {
    client: async_nats::Client,
    user: String,
    complaints: mpsc::Receiver<String>,
}

impl Bus {
    /// Connects, once.
    pub(crate) async fn connect(access: &Access) -> Result<Self, AskError> {
        let (complain, complaints) = mpsc::channel(COMPLAINTS);
        let user = user_of(&access.login);
        access.address()?;
        let options = access
            .options()?
            .name("scuttle")
            .event_callback(move |event| {
                if let Event::ServerError(error) = event {
                    // What finds no room is the same again.
                    let _ = complain.try_send(error.to_string());
                }
                std::future::ready(())
            });
        match options.connect(&access.url).await {
            Ok(client) => Ok(Self {
                client,
                user,
                complaints,
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

    /// Asks the controller.
    pub(crate) async fn ask<A: DeserializeOwned>(
        &mut self,
        subject: &str,
        request: &impl Serialize,
    ) -> Result<A, AskError> {
        let payload = serde_json::to_vec(request).expect("a request is plain data");
        let message = self.raw(subject, payload).await?;
        let refused = (message.headers.as_ref())
            .is_some_and(|all| all.get(headers::SERVICE_ERROR_CODE).is_some());
        let broken = |cause: &dyn std::fmt::Display| AskError::Broken {
            subject: subject.to_owned(),
            cause: cause.to_string(),
        };
        if refused {
            let body = read::<RefusalBody>("refusal", &message.payload);
            return Err(
                body.map_or_else(|error| broken(&error), |body| AskError::Refused(body.error))
            );
        }
        read("answer", &message.payload).map_err(|error| broken(&error))
    }

    /// Sends any bytes, and gives the answer.
    pub(crate) async fn raw(
        &mut self,
        subject: &str,
        payload: Vec<u8>,
    ) -> Result<async_nats::Message, AskError> {
        let subject = subject.to_owned();
        let request = Request::new().payload(payload.into()).timeout(None);
        let answer = self.client.send_request(subject.clone(), request);
        let denied = denied(&mut self.complaints, &subject);
        tokio::select! {
            answer = tokio::time::timeout(ANSWER, answer) => match answer {
                Ok(Ok(message)) => Ok(message),
                Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => {
                    Err(AskError::NoController { subject })
                }
                Ok(Err(error)) => Err(AskError::Broken { subject, cause: error.to_string() }),
                Err(_) => Err(AskError::TimedOut { subject }),
            },
            () = denied => Err(AskError::Denied { user: self.user.clone(), subject }),
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

/// Returns when the server has refused a message on this subject.
async fn denied(complaints: &mut mpsc::Receiver<String>, subject: &str) {
    let quoted = format!("\"{subject}\"");
    while let Some(complaint) = complaints.recv().await {
        if complaint.to_lowercase().contains("permissions violation") && complaint.contains(&quoted)
        {
            return;
        }
    }
    // The connection is gone, and what waits for the answer is told so.
    std::future::pending::<()>().await;
}

/// Who logs in, for messages.
fn user_of(login: &Login) -> String {
    match login {
        Login::Anonymous => "nobody".to_owned(),
        Login::Password { user, .. } => user.clone(),
        Login::Creds(path) => std::fs::read_to_string(path)
            .ok()
            .and_then(|text| {
                let token = text.lines().find(|line| line.starts_with("ey"))?;
                Some(Claims::<User>::read(token).ok()?.name)
            })
            .unwrap_or_else(|| path.display().to_string()),
    }
}
