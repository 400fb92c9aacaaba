//! Decodes the subject, headers and payload of a message into an input of `scuttle-core`, which
//! decides what the input changes.

use async_nats::{HeaderMap, Message};
use scuttle_core::{Input, TeardownArgs, Trace};
use scuttle_nats::receiver::MalformedMessage;
use scuttle_schemas::agents::{Heartbeat, TeardownProgress, TeardownResult};
use scuttle_schemas::subjects;
use scuttle_schemas::teardown::{HostTeardownRequest, TeardownRequest};
use scuttle_schemas::{
    ErrorCode, ErrorReply, HostId, OperationId, PartitionCount, ReadErrorKind, headers, read,
};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::observability::counters::Cause;
use crate::partition::relay_format;
use crate::request::endpoint::Endpoint;

/// The error for a message that cannot be decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeError {
    /// The reason, for the counters.
    pub cause: Cause,
    /// The `bad_request` reply to the sender.
    pub error: ErrorReply,
}

impl From<ErrorReply> for DecodeError {
    fn from(error: ErrorReply) -> Self {
        let cause = Cause::Invalid;
        Self { cause, error }
    }
}

/// A request whose subject and requester headers have been parsed, but whose payload has not been
/// decoded.
#[derive(Debug)]
pub struct RequestHead<'m> {
    pub endpoint: Endpoint,
    pub message: &'m Message,
    /// The token of the subject that names the reporting host, which need not be a valid host id.
    /// `None` if the endpoint takes no reports.
    pub host: Option<&'m str>,
    /// The user that the NATS server vouches for. Empty for reports, because the subject identifies
    /// the agent. An error if the headers were forged to hide the user.
    pub requested_by: Result<String, DecodeError>,
}

impl<'m> RequestHead<'m> {
    pub fn parse(endpoint: Endpoint, message: &'m Message) -> Self {
        Self::new(endpoint, message, parse_host(endpoint, message), false)
    }

    /// Does the same as [`parse`](Self::parse), but takes the host token that was already parsed
    /// from the subject. `from_accounts` says whether requests without a reply subject come from
    /// other accounts.
    pub fn new(
        endpoint: Endpoint,
        message: &'m Message,
        host: Option<&'m str>,
        from_accounts: bool,
    ) -> Self {
        let requested_by = match endpoint {
            Endpoint::AgentHeartbeat | Endpoint::AgentResults => Ok(String::new()),
            _ => parse_requester(message, from_accounts),
        };
        Self {
            endpoint,
            message,
            host,
            requested_by,
        }
    }

    /// Moves the user out of this value and leaves an empty name. Returns `None` if the headers
    /// were forged.
    pub(super) fn take_requester(&mut self) -> Option<String> {
        std::mem::replace(&mut self.requested_by, Ok(String::new())).ok()
    }

    /// Decodes the payload. `new_id` returns the id for a host or operation that the request
    /// creates: a `UUIDv7`, so that ids sort by age.
    pub fn decode(&self, new_id: impl FnOnce() -> Uuid) -> Result<Input, DecodeError> {
        // A request that hides its user is rejected, whatever it requests.
        let requested_by = self.requested_by.as_ref().map_err(Clone::clone)?;
        let message = self.message;
        match self.endpoint {
            Endpoint::Teardown => {
                let request = decode_payload("teardown request", message)?;
                self.to_teardown(request, requested_by, new_id())
            }
            Endpoint::TeardownHost => {
                // An empty message, perhaps sent by mistake, must not tear down a whole host.
                if message.payload.is_empty() {
                    return Err(DecodeError {
                        cause: Cause::NotJson,
                        error: bad_request(
                            &"the payload is empty: send {} to tear down the whole host",
                        ),
                    });
                }
                let request: HostTeardownRequest = decode_payload("teardown request", message)?;
                let host = subjects::host_teardown_token(&message.subject);
                let host: HostId = host
                    .and_then(|text| text.parse().ok())
                    .ok_or_else(no_valid_host)?;
                let request = request
                    .with_subject_host(host.clone())
                    .map_err(|other| names_other_host(&host, &other))?;
                self.to_teardown(request, requested_by, new_id())
            }
            Endpoint::HostsEnroll => {
                let host = new_id()
                    .to_string()
                    .parse()
                    .map_err(|error| bad_request(&error))?;
                let request = decode_payload("enroll request", message)?;
                Ok(Input::Enroll { request, host })
            }
            Endpoint::OperationsCancel => {
                decode_payload("cancel request", message).map(Input::Cancel)
            }
            Endpoint::HostsUpdate => {
                decode_payload("host update request", message).map(Input::UpdateHost)
            }
            Endpoint::HostsDecommission => {
                decode_payload("decommission request", message).map(Input::Decommission)
            }
            Endpoint::OperationsList => {
                decode_payload("operations list request", message).map(Input::OperationsList)
            }
            Endpoint::OperationsGet => {
                decode_payload("operation request", message).map(Input::OperationGet)
            }
            Endpoint::HostsList => {
                decode_payload("hosts list request", message).map(Input::HostsList)
            }
            Endpoint::ShardsList => {
                decode_payload("shards list request", message).map(Input::ShardsList)
            }
            Endpoint::ShardsProtect => {
                decode_payload("protect request", message).map(Input::Protect)
            }
            Endpoint::AgentHeartbeat => {
                let heartbeat: Heartbeat = decode_payload("heartbeat", message)?;
                let host = check_reporter(self.host, &heartbeat.host_uuid)?;
                Ok(Input::Heartbeat { host, heartbeat })
            }
            Endpoint::AgentResults => {
                let result: TeardownResult = decode_payload("teardown result", message)?;
                let host = check_reporter(self.host, &result.host_uuid)?;
                Ok(Input::Result {
                    host,
                    result,
                    trace: parse_trace(message),
                })
            }
        }
    }

    /// Builds the input for a decoded teardown request. `new_id` is the id for the operation.
    fn to_teardown(
        &self,
        request: TeardownRequest,
        requested_by: &str,
        new_id: Uuid,
    ) -> Result<Input, DecodeError> {
        let key = header(self.message, headers::MSG_ID);
        Ok(Input::Teardown(TeardownArgs {
            operation_id: OperationId::new_for_host(new_id, &request.host_uuid),
            request,
            requested_by: requested_by.to_owned(),
            key: headers::parse_idempotency_key(key).map_err(|error| bad_request(&error))?,
            trace: parse_trace(self.message),
        }))
    }
}

/// Decodes the subject, headers and payload of a request to an endpoint. `new_id` is passed to
/// [`RequestHead::decode`].
pub fn decode_request(
    endpoint: Endpoint,
    message: &Message,
    new_id: impl FnOnce() -> Uuid,
) -> Result<Input, DecodeError> {
    RequestHead::parse(endpoint, message).decode(new_id)
}

/// Decodes a progress report. `host` is the host token of the message's subject.
pub fn decode_progress(message: &Message, host: Option<&str>) -> Result<Input, DecodeError> {
    let progress: TeardownProgress = decode_payload("teardown progress", message)?;
    let host = host.and_then(|text| text.parse().ok());
    let host = host.ok_or_else(no_valid_host)?;
    Ok(Input::Progress { host, progress })
}

/// Decodes a broadcast that the leader of another partition has sent to be relayed.
pub fn decode_relay(message: &Message, partitions: PartitionCount) -> Result<Input, DecodeError> {
    let subject = message.subject.as_str();
    let from = subjects::parse_relaying_partition(subject, partitions);
    let from = from.ok_or_else(|| bad_request(&"the subject names no partition"))?;
    let broadcast = relay_format::decode(subject, &message.payload);
    let broadcast =
        broadcast.ok_or_else(|| bad_request(&"the payload is not a partition's broadcast"))?;
    let trace = parse_trace(message);
    Ok(Input::Relay {
        from,
        broadcast,
        trace,
    })
}

/// Returns the token of a report's subject that names the host, or `None` if the endpoint takes no
/// reports or the subject does not match.
pub(crate) fn parse_host(endpoint: Endpoint, message: &Message) -> Option<&str> {
    endpoint.channel()?.host_token(&message.subject)
}

/// Returns the user that the NATS server names in a request's headers, or `unknown` if it names
/// none.
///
/// The server vouches for the user only if the request comes from another account through a shared
/// import. Then the server also assigns the reply subject. A client in the controller's account, or
/// on a server without accounts, can write any header, but cannot use such a reply subject. For a
/// request without a reply subject, `from_accounts` decides.
///
/// # Errors
/// `bad_request` if the requester forged headers to hide those of the server.
pub fn parse_requester(message: &Message, from_accounts: bool) -> Result<String, DecodeError> {
    let reply = message.reply.as_deref();
    if !reply.map_or(from_accounts, subjects::is_cross_account_reply) {
        return Ok(headers::UNKNOWN_REQUESTER.to_owned());
    }
    let headers = message.headers.iter().flat_map(HeaderMap::iter);
    let headers = headers.flat_map(|(name, values)| {
        let name: &str = name.as_ref();
        values.iter().map(move |value| (name, value.as_str()))
    });
    Ok(headers::parse_requester(headers).map_err(|error| bad_request(&error))?)
}

/// Returns the error for a message whose headers or reply subject are malformed.
pub(crate) fn malformed(reason: MalformedMessage) -> DecodeError {
    DecodeError {
        cause: Cause::Malformed,
        error: bad_request(&format!("the message is malformed: {reason}")),
    }
}

/// Returns the trace context in the headers of a message, or `None` if there is no valid one.
pub(crate) fn parse_trace(message: &Message) -> Option<Trace> {
    headers::parse_traceparent(header(message, headers::TRACEPARENT)).map(Trace::from)
}

/// Decodes a payload. An empty payload stands for an object without fields.
fn decode_payload<T: DeserializeOwned>(
    name: &'static str,
    message: &Message,
) -> Result<T, DecodeError> {
    let payload: &[u8] = match &*message.payload {
        [] => b"{}",
        payload => payload,
    };
    read(name, payload).map_err(|error| DecodeError {
        cause: match error.kind() {
            ReadErrorKind::NotUtf8 => Cause::NotUtf8,
            ReadErrorKind::NotJson => Cause::NotJson,
            ReadErrorKind::Invalid => Cause::Invalid,
        },
        error: bad_request(&error),
    })
}

/// Returns the host that sent a report: the host in the subject, which the NATS server vouches for.
///
/// # Errors
/// If the subject names no valid host, or the payload names another host.
fn check_reporter(
    subject_host: Option<&str>,
    payload_host: &HostId,
) -> Result<HostId, DecodeError> {
    let host = subject_host.and_then(|text| text.parse::<HostId>().ok());
    match host {
        Some(host) if host == *payload_host => Ok(host),
        Some(host) => Err(names_other_host(&host, payload_host)),
        None => Err(no_valid_host().into()),
    }
}

/// Returns the error for a payload that names another host than the subject.
fn names_other_host(subject_host: &HostId, payload_host: &HostId) -> DecodeError {
    DecodeError {
        cause: Cause::OtherHost,
        error: bad_request(&format!(
            "host_uuid {payload_host} is not {subject_host}, the host of the subject"
        )),
    }
}

fn no_valid_host() -> ErrorReply {
    bad_request(&"the subject names no valid host_uuid")
}

fn bad_request(error: &dyn std::fmt::Display) -> ErrorReply {
    ErrorReply::new(ErrorCode::BadRequest, error.to_string())
}

fn header<'a>(message: &'a Message, name: &str) -> Option<&'a str> {
    message
        .headers
        .as_ref()?
        .get(name)
        .map(async_nats::HeaderValue::as_str)
}
