//! An operator's or viewer's side of the protocol: typed requests, refusals checked to the letter.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use async_nats::{HeaderMap, Request, RequestErrorKind};
use bytes::Bytes;
use scuttle_schemas::hosts::{EnrollAccepted, HostRecord, HostsList};
use scuttle_schemas::operations::{OperationGetReply, OperationRecord, OperationsList};
use scuttle_schemas::shards::{ShardRecord, ShardsList};
use scuttle_schemas::teardown::TeardownAccepted;
use scuttle_schemas::{ErrorCode, HostId, OperationId, headers, subjects};
use scuttle_schemas::{ErrorReply, ErrorReplyBody};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::{Mutex, mpsc};

use crate::roles::Role;
use crate::servers::nats::Nats;
use crate::wait::{until, until_after_steps, within};

/// How long one request may take. A test that asks while nobody answers retries with `until`.
const ANSWER: Duration = Duration::from_secs(5);

/// What the server says about a client's wrong-doing; more than a test ever provokes.
const MAX_COMPLAINTS: usize = 64;

/// A refusal that keeps the protocol: header, status and body say the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The `Nats-Service-Error-Code` header.
    pub status: u16,
    /// `error.code`.
    pub code: ErrorCode,
    /// `error.message`.
    pub message: String,
}

/// Why a request got no acceptance.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The controller refused.
    #[error("refused: {0:?}")]
    Refused(Refused),
    /// No answer came.
    #[error("no answer: {0}")]
    NoAnswer(#[from] async_nats::RequestError),
    /// The answer breaks the protocol.
    #[error("the answer breaks the protocol: {0:#}")]
    Broken(anyhow::Error),
}

/// What a test expects of a request that must not succeed.
pub trait Outcome {
    /// The refusal; panics when it was accepted, or not answered.
    fn refused(self) -> Refused;
}

impl<T: Debug> Outcome for Result<T, AskError> {
    #[track_caller]
    fn refused(self) -> Refused {
        match self {
            Err(AskError::Refused(refused)) => refused,
            other => panic!("expected a refusal, got {other:?}"),
        }
    }
}

/// A connection as one user.
#[derive(Debug)]
pub struct Client {
    nats: async_nats::Client,
    complaints: Mutex<mpsc::Receiver<String>>,
}

impl Client {
    /// Connects as `role`.
    ///
    /// # Errors
    /// The server is away or refuses.
    pub async fn connect(nats: &Nats, role: Role) -> Result<Self> {
        Self::with(nats.options(role), &nats.url()).await
    }

    /// Connects with these options, to one of the servers that are named, with commas between them.
    ///
    /// # Errors
    /// The server is away or refuses.
    pub async fn with(options: async_nats::ConnectOptions, url: &str) -> Result<Self> {
        let (complain, complaints) = mpsc::channel(MAX_COMPLAINTS);
        let nats = options
            .event_callback(move |event| {
                let complain = complain.clone();
                async move {
                    if let async_nats::Event::ServerError(error) = event {
                        // A full channel loses what no test would read.
                        let _ = complain.try_send(error.to_string());
                    }
                }
            })
            .connect(url.split(',').collect::<Vec<_>>())
            .await?;
        Ok(Self {
            nats,
            complaints: Mutex::new(complaints),
        })
    }

    /// The connection itself, for what the protocol does not foresee.
    pub fn nats(&self) -> &async_nats::Client {
        &self.nats
    }

    /// Sends any bytes, and gives the answer's headers and body.
    ///
    /// # Errors
    /// No answer came.
    pub async fn raw(
        &self,
        subject: &str,
        headers: HeaderMap,
        payload: impl Into<Bytes>,
    ) -> Result<async_nats::Message, async_nats::RequestError> {
        let request = Request::new()
            .headers(headers)
            .payload(payload.into())
            .timeout(Some(ANSWER));
        self.nats.send_request(subject.to_owned(), request).await
    }

    /// Sends `request` with headers, and reads the answer.
    ///
    /// # Errors
    /// It was refused, not answered, or answered against the protocol.
    pub async fn ask_with<A: DeserializeOwned>(
        &self,
        subject: &str,
        headers: HeaderMap,
        request: &impl Serialize,
    ) -> Result<A, AskError> {
        let payload =
            serde_json::to_vec(request).map_err(|error| AskError::Broken(error.into()))?;
        let answer = self.raw(subject, headers, payload).await?;
        read_answer(&answer)
    }

    /// Sends `request`, and reads the answer.
    ///
    /// # Errors
    /// It was refused, not answered, or answered against the protocol.
    pub async fn ask<A: DeserializeOwned>(
        &self,
        subject: &str,
        request: &impl Serialize,
    ) -> Result<A, AskError> {
        self.ask_with(subject, HeaderMap::new(), request).await
    }

    /// Asks for the teardown of a decky, or of a whole host, with the usual deadline.
    ///
    /// # Errors
    /// As `ask`.
    pub async fn teardown<'a>(
        &self,
        host: &HostId,
        decky: impl Into<Option<&'a str>>,
    ) -> Result<TeardownAccepted, AskError> {
        let request = json!({ "host_uuid": host, "decky_id": decky.into() });
        self.ask(subjects::TEARDOWN, &request).await
    }

    /// The same, with a deadline in `timeout_s` seconds.
    ///
    /// # Errors
    /// As `ask`.
    pub async fn teardown_within<'a>(
        &self,
        timeout_s: u32,
        host: &HostId,
        decky: impl Into<Option<&'a str>>,
    ) -> Result<TeardownAccepted, AskError> {
        let request =
            json!({ "host_uuid": host, "decky_id": decky.into(), "timeout_s": timeout_s });
        self.ask(subjects::TEARDOWN, &request).await
    }

    /// Enrols a host under this name, with a uuid of the controller's making.
    ///
    /// # Errors
    /// As `ask`.
    pub async fn enroll(&self, name: &str) -> Result<EnrollAccepted, AskError> {
        self.ask(subjects::HOSTS_ENROLL, &json!({ "name": name }))
            .await
    }

    /// One operation, whole.
    ///
    /// # Errors
    /// As `ask`.
    pub async fn operation(&self, id: OperationId) -> Result<OperationRecord, AskError> {
        let request = json!({ "operation_id": id });
        let answer: OperationGetReply = self.ask(subjects::OPERATIONS_GET, &request).await?;
        Ok(answer.operation)
    }

    /// Waits until an operation has ended, as long as it goes on.
    ///
    /// # Errors
    /// It does not.
    pub async fn ended(&self, id: OperationId) -> Result<OperationRecord> {
        let ended = |operation: &OperationRecord| operation.finished_at.is_some();
        until_after_steps("the operation ends", || self.operation(id), ended).await
    }

    /// Every shard, over all pages, and the first page's revision.
    ///
    /// # Errors
    /// As `ask`.
    pub async fn shards_paged(&self, limit: u16) -> Result<(u64, Vec<ShardRecord>), AskError> {
        let mut after = None;
        let mut first_revision = None;
        let mut shards = Vec::new();
        loop {
            let request = json!({ "after": after, "limit": limit });
            let page: ShardsList = self.ask(subjects::SHARDS_LIST, &request).await?;
            let revision = *first_revision.get_or_insert(page.revision);
            if page.revision < revision {
                // Of a leader that is none any more: it may have what is gone.
                (after, first_revision) = (None, None);
                shards.clear();
                continue;
            }
            shards.extend(page.shards);
            after = page.next;
            if after.is_none() {
                return Ok((revision, shards));
            }
        }
    }

    /// Every shard.
    ///
    /// # Errors
    /// As `ask`.
    pub async fn shards(&self) -> Result<Vec<ShardRecord>, AskError> {
        Ok(self.shards_paged(1000).await?.1)
    }

    /// One shard, if it is on the record.
    ///
    /// # Errors
    /// As `ask`.
    pub async fn shard(&self, host: &HostId, decky: &str) -> Result<Option<ShardRecord>, AskError> {
        let mut shards = self.shards().await?;
        shards.retain(|shard| shard.host_uuid == *host && shard.decky_id.as_str() == decky);
        Ok(shards.pop())
    }

    /// A host's shards and their states in one line: `decky-1 running, decky-2 tearing_down`.
    ///
    /// # Errors
    /// As `ask`.
    pub async fn states(&self, host: &HostId) -> Result<String, AskError> {
        let request = json!({ "host_uuid": host, "limit": 1000 });
        let page: ShardsList = self.ask(subjects::SHARDS_LIST, &request).await?;
        let state = |shard: &ShardRecord| format!("{} {}", shard.decky_id, word(&shard.state));
        Ok(page.shards.iter().map(state).collect::<Vec<_>>().join(", "))
    }

    /// Every host, by its uuid.
    ///
    /// # Errors
    /// As `ask`.
    pub async fn hosts(&self) -> Result<BTreeMap<HostId, HostRecord>, AskError> {
        let mut after = None;
        let mut hosts = BTreeMap::new();
        loop {
            let request = json!({ "after": after, "limit": 1000 });
            let page: HostsList = self.ask(subjects::HOSTS_LIST, &request).await?;
            let by_id = |host: HostRecord| (host.host_uuid.clone(), host);
            hosts.extend(page.hosts.into_iter().map(by_id));
            after = page.next;
            if after.is_none() {
                return Ok(hosts);
            }
        }
    }

    /// One host, which must be there.
    ///
    /// # Errors
    /// It is not.
    pub async fn host(&self, host: &HostId) -> Result<HostRecord> {
        let mut hosts = self.hosts().await?;
        hosts.remove(host).context("no such host")
    }

    /// Every operation, newest first.
    ///
    /// # Errors
    /// As `ask`.
    pub async fn operations(&self) -> Result<Vec<OperationRecord>, AskError> {
        let mut after = None;
        let mut operations = Vec::new();
        loop {
            let request = json!({ "after": after, "limit": 1000 });
            let page: OperationsList = self.ask(subjects::OPERATIONS_LIST, &request).await?;
            operations.extend(page.operations);
            after = page.next;
            if after.is_none() {
                return Ok(operations);
            }
        }
    }

    /// Waits until the controller answers this client.
    ///
    /// # Errors
    /// It does not.
    pub async fn answered(&self) -> Result<()> {
        let request = json!({ "limit": 1 });
        let ask = || self.ask::<HostsList>(subjects::HOSTS_LIST, &request);
        until("the controller answers", ask, |_| true).await?;
        Ok(())
    }

    /// The server's next complaint about this client, which must be a refusal of `subject`.
    ///
    /// # Errors
    /// It does not complain, or about something else.
    pub async fn denied(&self, subject: &str) -> Result<()> {
        let complaint = self.complained("permissions violation").await?;
        ensure!(
            complaint.contains(subject),
            "expected a refusal of {subject}, got {complaint}"
        );
        Ok(())
    }

    /// The server's next complaint about this client, which must have these words.
    ///
    /// # Errors
    /// It does not complain, or about something else.
    pub async fn complained(&self, words: &str) -> Result<String> {
        let mut complaints = self.complaints.lock().await;
        let complaint = within("the server complains", complaints.recv())
            .await?
            .context("the connection is closed")?;
        ensure!(
            complaint.to_lowercase().contains(words),
            "expected {words}, got {complaint}"
        );
        Ok(complaint)
    }

    /// Sends a request that the server must refuse: by permission, or because the user's account does
    /// not know the subject.
    ///
    /// # Errors
    /// The request went through.
    pub async fn request_denied(&self, subject: &str, request: &impl Serialize) -> Result<()> {
        let payload = serde_json::to_vec(request)?;
        tokio::select! {
            answer = self.raw(subject, HeaderMap::new(), payload) => match answer {
                Err(error) if error.kind() == RequestErrorKind::NoResponders => Ok(()),
                other => Err(anyhow!("{subject} was not refused: {other:?}")),
            },
            denied = self.denied(subject) => denied,
        }
    }
}

/// Reads an answer of the controller: the value, or a refusal that keeps the protocol.
///
/// # Errors
/// It is a refusal, or breaks the protocol.
pub fn read_answer<A: DeserializeOwned>(answer: &async_nats::Message) -> Result<A, AskError> {
    let header = |name: &str| answer.headers.as_ref()?.get(name).map(ToString::to_string);
    match header(headers::SERVICE_ERROR_CODE) {
        Some(status) => {
            let refused = read_refusal(&status, header(headers::SERVICE_ERROR), &answer.payload);
            Err(refused.map_or_else(AskError::Broken, AskError::Refused))
        }
        None => serde_json::from_slice(&answer.payload)
            .with_context(|| String::from_utf8_lossy(&answer.payload).into_owned())
            .map_err(AskError::Broken),
    }
}

fn read_refusal(status: &str, text: Option<String>, payload: &[u8]) -> Result<Refused> {
    let payload_text = String::from_utf8_lossy(payload).into_owned();
    let body: ErrorReplyBody = serde_json::from_slice(payload).context(payload_text.clone())?;
    let ErrorReply { code, message, .. } = body.error;
    ensure!(!body.accepted, "accepted and refused: {payload_text}");
    ensure!(!message.is_empty(), "a refusal without a message");
    ensure!(
        status == code.status().to_string(),
        "the header says {status}, the body {payload_text}"
    );
    ensure!(
        text.is_some_and(|text| !text.is_empty()),
        "no {} header",
        headers::SERVICE_ERROR
    );
    Ok(Refused {
        status: code.status(),
        code,
        message,
    })
}

/// How an enum's value is written on the wire.
pub fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => word,
        other => format!("{other:?}"),
    }
}
