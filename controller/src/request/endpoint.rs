//! The endpoints of the Micro service: which subject each answers, and how its payload becomes an
//! input. What an input causes is the core's matter.

use async_nats::{HeaderMap, Message};
use scuttle_core::{Input, Trace};
use scuttle_schemas::agents::{Heartbeat, TeardownProgress, TeardownResult};
use scuttle_schemas::subjects::{self, AgentChannel};
use scuttle_schemas::teardown::TeardownRequest;
use scuttle_schemas::{
    ErrorCode, ErrorReply, HostId, OperationId, PartitionCount, ReadErrorKind, headers, read,
};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::observability::counters::Cause;
use crate::partition::relay_format;

/// A request subject of the controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// `swarm.teardown`.
    Teardown,
    /// `swarm.operations.cancel`.
    OperationsCancel,
    /// `swarm.operations.list`.
    OperationsList,
    /// `swarm.operations.get`.
    OperationsGet,
    /// `swarm.hosts.enroll`.
    HostsEnroll,
    /// `swarm.hosts.decommission`.
    HostsDecommission,
    /// `swarm.hosts.list`.
    HostsList,
    /// `swarm.shards.list`.
    ShardsList,
    /// `agent.<host_uuid>.heartbeat`.
    AgentHeartbeat,
    /// `agent.<host_uuid>.results`.
    AgentResults,
}

/// A message that is no input, and why not: in words for whoever sent it, and for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// What kind of thing is wrong.
    pub cause: Cause,
    /// The answer.
    pub refusal: ErrorReply,
}

impl From<ErrorReply> for Rejected {
    fn from(refusal: ErrorReply) -> Self {
        Self {
            cause: Cause::Invalid,
            refusal,
        }
    }
}

impl Endpoint {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Teardown,
        Self::OperationsCancel,
        Self::OperationsList,
        Self::OperationsGet,
        Self::HostsEnroll,
        Self::HostsDecommission,
        Self::HostsList,
        Self::ShardsList,
        Self::AgentHeartbeat,
        Self::AgentResults,
    ];

    /// Its name in `$SRV.INFO` and `$SRV.STATS`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Teardown => "teardown",
            Self::OperationsCancel => "operations-cancel",
            Self::OperationsList => "operations-list",
            Self::OperationsGet => "operations-get",
            Self::HostsEnroll => "hosts-enroll",
            Self::HostsDecommission => "hosts-decommission",
            Self::HostsList => "hosts-list",
            Self::ShardsList => "shards-list",
            Self::AgentHeartbeat => "agent-heartbeat",
            Self::AgentResults => "agent-results",
        }
    }

    /// The agents' channel that it answers, if it does.
    pub fn channel(self) -> Option<AgentChannel> {
        match self {
            Self::AgentHeartbeat => Some(AgentChannel::Heartbeat),
            Self::AgentResults => Some(AgentChannel::Results),
            Self::Teardown
            | Self::OperationsCancel
            | Self::OperationsList
            | Self::OperationsGet
            | Self::HostsEnroll
            | Self::HostsDecommission
            | Self::HostsList
            | Self::ShardsList => None,
        }
    }

    /// Whether its requests ask for a change: those are written down in the audit log.
    pub fn changes(self) -> bool {
        match self {
            Self::Teardown
            | Self::OperationsCancel
            | Self::HostsEnroll
            | Self::HostsDecommission => true,
            Self::OperationsList
            | Self::OperationsGet
            | Self::HostsList
            | Self::ShardsList
            | Self::AgentHeartbeat
            | Self::AgentResults => false,
        }
    }

    /// Whether its requests only read.
    pub fn reads(self) -> bool {
        !self.changes() && self.channel().is_none()
    }

    /// What it subscribes.
    pub fn subject(self) -> String {
        match self {
            Self::Teardown => subjects::TEARDOWN.to_owned(),
            Self::OperationsCancel => subjects::OPERATIONS_CANCEL.to_owned(),
            Self::OperationsList => subjects::OPERATIONS_LIST.to_owned(),
            Self::OperationsGet => subjects::OPERATIONS_GET.to_owned(),
            Self::HostsEnroll => subjects::HOSTS_ENROLL.to_owned(),
            Self::HostsDecommission => subjects::HOSTS_DECOMMISSION.to_owned(),
            Self::HostsList => subjects::HOSTS_LIST.to_owned(),
            Self::ShardsList => subjects::SHARDS_LIST.to_owned(),
            Self::AgentHeartbeat => AgentChannel::Heartbeat.wildcard_subject(),
            Self::AgentResults => AgentChannel::Results.wildcard_subject(),
        }
    }

    /// Reads a request. What it makes is named by `fresh` ids: `UUIDv7`s, so that they sort by age.
    ///
    /// # Errors
    /// `bad_request`: what is wrong with it, for whoever sent it.
    pub fn read(self, message: &Message, fresh: impl FnOnce() -> Uuid) -> Result<Input, Rejected> {
        // Who hides who asks is refused, whatever it asks. Of agents the server says nothing: their subject does.
        let requested_by = match self {
            Self::AgentHeartbeat | Self::AgentResults => String::new(),
            _ => requester(message)?,
        };
        match self {
            Self::Teardown => {
                let request: TeardownRequest = payload("teardown request", message)?;
                Ok(Input::Teardown {
                    operation_id: OperationId::new_for_host(fresh(), &request.host_uuid),
                    request,
                    requested_by,
                    key: headers::parse_idempotency_key(header(message, headers::MSG_ID))
                        .map_err(|error| bad_request(&error))?,
                    trace: trace(message),
                })
            }
            Self::HostsEnroll => {
                let host = fresh()
                    .to_string()
                    .parse()
                    .map_err(|error| bad_request(&error))?;
                Ok(Input::Enroll {
                    request: payload("enroll request", message)?,
                    host,
                })
            }
            Self::OperationsCancel => payload("cancel request", message).map(Input::Cancel),
            Self::HostsDecommission => {
                payload("decommission request", message).map(Input::Decommission)
            }
            Self::OperationsList => {
                payload("operations list request", message).map(Input::OperationsList)
            }
            Self::OperationsGet => payload("operation request", message).map(Input::OperationGet),
            Self::HostsList => payload("hosts list request", message).map(Input::HostsList),
            Self::ShardsList => payload("shards list request", message).map(Input::ShardsList),
            Self::AgentHeartbeat => {
                let heartbeat: Heartbeat = payload("heartbeat", message)?;
                let host = speaker(AgentChannel::Heartbeat, message, &heartbeat.host_uuid)?;
                Ok(Input::Heartbeat { host, heartbeat })
            }
            Self::AgentResults => {
                let result: TeardownResult = payload("teardown result", message)?;
                let host = speaker(AgentChannel::Results, message, &result.host_uuid)?;
                Ok(Input::Result {
                    host,
                    result,
                    trace: trace(message),
                })
            }
        }
    }
}

/// Reads what an agent publishes on its progress subject.
///
/// # Errors
/// What is wrong with it.
pub fn decode_progress(message: &Message) -> Result<Input, Rejected> {
    let progress: TeardownProgress = payload("teardown progress", message)?;
    let host = AgentChannel::Progress.parse_host(&message.subject);
    let host = host.ok_or_else(|| bad_request(&"the subject names no valid host_uuid"))?;
    Ok(Input::Progress { host, progress })
}

/// Reads what the leader of another partition tells.
///
/// # Errors
/// What is wrong with it.
pub fn decode_relay(message: &Message, of: PartitionCount) -> Result<Input, Rejected> {
    let subject = message.subject.as_str();
    let from = subjects::parse_relaying_partition(subject, of);
    let from = from.ok_or_else(|| bad_request(&"the subject names no partition"))?;
    let broadcast = relay_format::decode(subject, &message.payload);
    let broadcast = broadcast.ok_or_else(|| bad_request(&"it is no broadcast of a partition"))?;
    let trace = trace(message);
    Ok(Input::Relay {
        from,
        broadcast,
        trace,
    })
}

fn payload<T: DeserializeOwned>(name: &'static str, message: &Message) -> Result<T, Rejected> {
    read(name, &message.payload).map_err(|error| Rejected {
        cause: match error.kind() {
            ReadErrorKind::NotUtf8 => Cause::NotUtf8,
            ReadErrorKind::NotJson => Cause::NotJson,
            ReadErrorKind::Invalid => Cause::Invalid,
        },
        refusal: bad_request(&error),
    })
}

/// The host that a report speaks for: the one of its subject, which the NATS server vouches for. A
/// payload that names another is refused.
fn speaker(channel: AgentChannel, message: &Message, named: &HostId) -> Result<HostId, Rejected> {
    match channel.parse_host(&message.subject) {
        Some(host) if host == *named => Ok(host),
        Some(host) => Err(Rejected {
            cause: Cause::OtherHost,
            refusal: bad_request(&format!(
                "host_uuid {named} is not {host}, the host of the subject"
            )),
        }),
        None => Err(bad_request(&"the subject names no valid host_uuid").into()),
    }
}

fn bad_request(error: &dyn std::fmt::Display) -> ErrorReply {
    ErrorReply::new(ErrorCode::BadRequest, error.to_string())
}

/// Who asks, by the server's word.
///
/// # Errors
/// `bad_request`: the headers were made to hide that word.
pub fn requester(message: &Message) -> Result<String, Rejected> {
    let headers = message.headers.iter().flat_map(HeaderMap::iter);
    let headers = headers.flat_map(|(name, values)| {
        let name: &str = name.as_ref();
        values.iter().map(move |value| (name, value.as_str()))
    });
    // What stands behind `NATS/1.0` is no header, but the server's word may be glued to it too.
    let description = (message.description.iter()).map(|text| ("", text.as_str()));
    Ok(
        headers::parse_requester(headers.chain(description))
            .map_err(|error| bad_request(&error))?,
    )
}

fn header<'a>(message: &'a Message, name: &str) -> Option<&'a str> {
    message
        .headers
        .as_ref()?
        .get(name)
        .map(async_nats::HeaderValue::as_str)
}

/// The trace context that came with a message.
pub(crate) fn trace(message: &Message) -> Option<Trace> {
    headers::parse_traceparent(header(message, headers::TRACEPARENT)).map(Trace::from)
}
