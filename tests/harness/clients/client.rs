//! A client of the controller: an operator or a viewer. Requests are typed, and every error reply
//! is checked against the protocol.

use std::collections::BTreeMap;
use std::fmt::Debug;

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
use crate::wait::{REQUEST_TIMEOUT, wait_until, wait_while_progressing, with_timeout};

/// The maximum number of server errors that are kept for a test to read. No test provokes more.
const MAX_SERVER_ERRORS: usize = 64;

/// The number of records on a page when all records are listed: the protocol's maximum.
const PAGE_SIZE: u16 = 1000;

/// An error reply whose headers and body agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The value of the `Nats-Service-Error-Code` header.
    pub status: u16,
    /// The field `error.code` of the body.
    pub code: ErrorCode,
    /// The field `error.message` of the body.
    pub message: String,
}

/// The reason why a request did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The controller rejected the request.
    #[error("rejected: {0:?}")]
    Rejected(Rejection),
    /// No reply arrived in time, or no program subscribes to the subject.
    #[error("no reply: {0}")]
    NoReply(#[from] async_nats::RequestError),
    /// The reply breaks the protocol.
    #[error("the reply breaks the protocol: {0:#}")]
    InvalidReply(anyhow::Error),
}

/// An extension of results for tests that expect a rejection.
pub trait ExpectRejection {
    /// Returns the error reply.
    ///
    /// # Panics
    /// If the request was accepted, or got no valid reply.
    fn expect_rejection(self) -> Rejection;
}

impl<T: Debug> ExpectRejection for Result<T, RequestError> {
    #[track_caller]
    fn expect_rejection(self) -> Rejection {
        match self {
            Err(RequestError::Rejected(rejection)) => rejection,
            other => panic!("expected a rejection, got {other:?}"),
        }
    }
}

/// A connection to the servers as one user.
#[derive(Debug)]
pub struct Client {
    nats: async_nats::Client,
    server_errors: Mutex<mpsc::Receiver<String>>,
}

impl Client {
    /// Connects to `nats` as `role`.
    pub async fn connect(nats: &Nats, role: Role) -> Result<Self> {
        Self::connect_with(nats.connect_options(role), &nats.url()).await
    }

    /// Connects with these options to one of the servers in `url`, a list separated by commas.
    pub async fn connect_with(options: async_nats::ConnectOptions, url: &str) -> Result<Self> {
        let (sender, server_errors) = mpsc::channel(MAX_SERVER_ERRORS);
        let nats = options
            .event_callback(move |event| {
                let sender = sender.clone();
                async move {
                    if let async_nats::Event::ServerError(error) = event {
                        // If the channel is full, the error is lost; no test reads that many.
                        let _ = sender.try_send(error.to_string());
                    }
                }
            })
            .connect(url.split(',').collect::<Vec<_>>())
            .await?;
        Ok(Self {
            nats,
            server_errors: Mutex::new(server_errors),
        })
    }

    /// Returns the NATS connection, for messages that are not requests to the controller.
    pub fn nats(&self) -> &async_nats::Client {
        &self.nats
    }

    /// Sends a request with any payload and returns the reply unparsed.
    ///
    /// # Errors
    /// If no reply arrives within [`REQUEST_TIMEOUT`], or no program subscribes to the subject.
    pub async fn request_raw(
        &self,
        subject: &str,
        headers: HeaderMap,
        payload: impl Into<Bytes>,
    ) -> Result<async_nats::Message, async_nats::RequestError> {
        let request = Request::new()
            .headers(headers)
            .payload(payload.into())
            .timeout(Some(REQUEST_TIMEOUT));
        self.nats.send_request(subject.to_owned(), request).await
    }

    /// Sends a request with headers and parses the reply.
    pub async fn request_with_headers<A: DeserializeOwned>(
        &self,
        subject: &str,
        headers: HeaderMap,
        request: &impl Serialize,
    ) -> Result<A, RequestError> {
        let payload = serde_json::to_vec(request)
            .map_err(|error| RequestError::InvalidReply(error.into()))?;
        let reply = self.request_raw(subject, headers, payload).await?;
        parse_reply(&reply)
    }

    /// Sends a request and parses the reply.
    pub async fn request<A: DeserializeOwned>(
        &self,
        subject: &str,
        request: &impl Serialize,
    ) -> Result<A, RequestError> {
        self.request_with_headers(subject, HeaderMap::new(), request)
            .await
    }

    /// Requests the teardown of a decky, or of the whole host if `decky` is `None`, with the
    /// default deadline.
    pub async fn tear_down<'a>(
        &self,
        host: &HostId,
        decky: impl Into<Option<&'a str>>,
    ) -> Result<TeardownAccepted, RequestError> {
        let request = json!({ "host_uuid": host, "decky_id": decky.into() });
        self.request(subjects::TEARDOWN, &request).await
    }

    /// Requests a teardown of a decky or a whole host, with a deadline in `timeout_s` seconds.
    pub async fn tear_down_within<'a>(
        &self,
        timeout_s: u32,
        host: &HostId,
        decky: impl Into<Option<&'a str>>,
    ) -> Result<TeardownAccepted, RequestError> {
        let request =
            json!({ "host_uuid": host, "decky_id": decky.into(), "timeout_s": timeout_s });
        self.request(subjects::TEARDOWN, &request).await
    }

    /// Enrolls a host with this name. The controller generates the host's id.
    pub async fn enroll(&self, name: &str) -> Result<EnrollAccepted, RequestError> {
        self.request(subjects::HOSTS_ENROLL, &json!({ "name": name }))
            .await
    }

    /// Requests the record of one operation.
    pub async fn operation(&self, id: OperationId) -> Result<OperationRecord, RequestError> {
        let request = json!({ "operation_id": id });
        let reply: OperationGetReply = self.request(subjects::OPERATIONS_GET, &request).await?;
        Ok(reply.operation)
    }

    /// Waits until an operation has ended, and returns its record. The timeout restarts whenever
    /// the record changes.
    pub async fn wait_for_end(&self, id: OperationId) -> Result<OperationRecord> {
        let has_ended = |operation: &OperationRecord| operation.finished_at.is_some();
        wait_while_progressing("the operation ends", || self.operation(id), has_ended).await
    }

    /// Lists all shards in pages of `limit` records. Returns the revision of the first page and the
    /// shards.
    pub async fn list_shards_paged(
        &self,
        limit: u16,
    ) -> Result<(u64, Vec<ShardRecord>), RequestError> {
        let mut after = None;
        let mut first_revision = None;
        let mut shards = Vec::new();
        loop {
            let request = json!({ "after": after, "limit": limit });
            let page: ShardsList = self.request(subjects::SHARDS_LIST, &request).await?;
            let revision = *first_revision.get_or_insert(page.revision);
            if page.revision < revision {
                // The page is from a deposed leader, which may still list shards that have been
                // removed: start again.
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

    /// Lists all shards, page by page.
    pub async fn list_shards(&self) -> Result<Vec<ShardRecord>, RequestError> {
        Ok(self.list_shards_paged(PAGE_SIZE).await?.1)
    }

    /// Returns one shard, or `None` if the shard is not in the record.
    pub async fn find_shard(
        &self,
        host: &HostId,
        decky: &str,
    ) -> Result<Option<ShardRecord>, RequestError> {
        let mut shards = self.list_shards().await?;
        shards.retain(|shard| shard.host_uuid == *host && shard.decky_id.as_str() == decky);
        Ok(shards.pop())
    }

    /// Returns the shards of a host with their states in one line, such as
    /// `decky-1 running, decky-2 tearing_down`.
    pub async fn shard_states(&self, host: &HostId) -> Result<String, RequestError> {
        let request = json!({ "host_uuid": host, "limit": PAGE_SIZE });
        let page: ShardsList = self.request(subjects::SHARDS_LIST, &request).await?;
        let state =
            |shard: &ShardRecord| format!("{} {}", shard.decky_id, to_wire_name(&shard.state));
        Ok(page.shards.iter().map(state).collect::<Vec<_>>().join(", "))
    }

    /// Lists all hosts, page by page, and returns them keyed by id.
    pub async fn list_hosts(&self) -> Result<BTreeMap<HostId, HostRecord>, RequestError> {
        let mut after = None;
        let mut hosts = BTreeMap::new();
        loop {
            let request = json!({ "after": after, "limit": PAGE_SIZE });
            let page: HostsList = self.request(subjects::HOSTS_LIST, &request).await?;
            let by_id = |host: HostRecord| (host.host_uuid.clone(), host);
            hosts.extend(page.hosts.into_iter().map(by_id));
            after = page.next;
            if after.is_none() {
                return Ok(hosts);
            }
        }
    }

    /// Returns one host from the list of all hosts.
    ///
    /// # Errors
    /// If the hosts cannot be listed, or the host is not in the record.
    pub async fn host(&self, host: &HostId) -> Result<HostRecord> {
        let mut hosts = self.list_hosts().await?;
        hosts.remove(host).context("the host is not on record")
    }

    /// Lists all operations, newest first.
    pub async fn list_operations(&self) -> Result<Vec<OperationRecord>, RequestError> {
        let mut after = None;
        let mut operations = Vec::new();
        loop {
            let request = json!({ "after": after, "limit": PAGE_SIZE });
            let page: OperationsList = self.request(subjects::OPERATIONS_LIST, &request).await?;
            operations.extend(page.operations);
            after = page.next;
            if after.is_none() {
                return Ok(operations);
            }
        }
    }

    /// Waits until a controller replies to this client.
    pub async fn wait_until_ready(&self) -> Result<()> {
        let request = json!({ "limit": 1 });
        let list = || self.request::<HostsList>(subjects::HOSTS_LIST, &request);
        wait_until("the controller replies", list, |_| true).await?;
        Ok(())
    }

    /// Waits for the next error that the server sends to this client.
    ///
    /// # Errors
    /// If the error is not a permissions violation for `subject`, or no error arrives in time.
    pub async fn expect_denied(&self, subject: &str) -> Result<()> {
        let error = self.expect_server_error("permissions violation").await?;
        ensure!(
            error.contains(subject),
            "expected a permissions violation for {subject}, got {error}"
        );
        Ok(())
    }

    /// Waits for the next error that the server sends to this client, and returns the error.
    ///
    /// # Errors
    /// If the error, in lower case, does not contain `text`, or no error arrives in time.
    pub async fn expect_server_error(&self, text: &str) -> Result<String> {
        let mut server_errors = self.server_errors.lock().await;
        let error = with_timeout("the server sends an error", server_errors.recv())
            .await?
            .context("the connection is closed")?;
        ensure!(
            error.to_lowercase().contains(text),
            "expected {text}, got {error}"
        );
        Ok(error)
    }

    /// Checks that the server does not deliver a request, because the user lacks the permission, or
    /// because no program in the user's account subscribes to the subject.
    ///
    /// # Errors
    /// If the request is delivered, or fails for another reason.
    pub async fn expect_request_denied(
        &self,
        subject: &str,
        request: &impl Serialize,
    ) -> Result<()> {
        let payload = serde_json::to_vec(request)?;
        tokio::select! {
            reply = self.request_raw(subject, HeaderMap::new(), payload) => match reply {
                Err(error) if error.kind() == RequestErrorKind::NoResponders => Ok(()),
                other => Err(anyhow!("{subject} was not denied: {other:?}")),
            },
            denied = self.expect_denied(subject) => denied,
        }
    }
}

/// Parses a reply of the controller.
///
/// # Errors
/// - [`RequestError::Rejected`] for an error reply whose headers and body agree.
/// - [`RequestError::InvalidReply`] for a reply that breaks the protocol.
pub fn parse_reply<A: DeserializeOwned>(reply: &async_nats::Message) -> Result<A, RequestError> {
    let header = |name: &str| reply.headers.as_ref()?.get(name).map(ToString::to_string);
    match header(headers::SERVICE_ERROR_CODE) {
        Some(status) => {
            let error = header(headers::SERVICE_ERROR);
            let rejection = parse_rejection(&status, error, &reply.payload);
            Err(rejection.map_or_else(RequestError::InvalidReply, RequestError::Rejected))
        }
        None => serde_json::from_slice(&reply.payload)
            .with_context(|| String::from_utf8_lossy(&reply.payload).into_owned())
            .map_err(RequestError::InvalidReply),
    }
}

fn parse_rejection(status: &str, text: Option<String>, payload: &[u8]) -> Result<Rejection> {
    let payload_text = String::from_utf8_lossy(payload).into_owned();
    let body: ErrorReplyBody = serde_json::from_slice(payload).context(payload_text.clone())?;
    let ErrorReply { code, message, .. } = body.error;
    ensure!(!body.accepted, "accepted in an error reply: {payload_text}");
    ensure!(!message.is_empty(), "an error reply without a message");
    ensure!(
        status == code.status().to_string(),
        "the header has {status}, the body {payload_text}"
    );
    ensure!(
        text.is_some_and(|text| !text.is_empty()),
        "no {} header",
        headers::SERVICE_ERROR
    );
    Ok(Rejection {
        status: code.status(),
        code,
        message,
    })
}

/// Returns the name of an enum's value in messages, such as `tearing_down`.
pub fn to_wire_name(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(name)) => name,
        other => format!("{other:?}"),
    }
}
