//! The rows that are stored on disk. They are the durable part of the state.
//!
//! Times are stored as milliseconds since 1970. The order of fields and variants is the storage
//! format: do not reorder them.

use std::sync::Arc;

use scuttle_schemas::agents::ReportedState;
use scuttle_schemas::hosts::HostStatus;
use scuttle_schemas::operations::{OperationState, ShardOutcome};
use scuttle_schemas::shards::ShardState;
use scuttle_schemas::{
    BootId, DeckyId, HostId, HostName, Labels, OperationId, Services, Text, Timestamp,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A W3C trace context, passed on unchanged.
pub type Trace = Arc<str>;

/// The last revision of each broadcast subject.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revisions {
    /// `shards.updated`.
    pub shards: u64,
    /// `hosts.updated`.
    pub hosts: u64,
    /// `operations.updated`.
    pub operations: u64,
}

/// The row that exists once per partition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// The `controller_epoch` since the last start or takeover.
    pub epoch: u64,
    /// The last revisions.
    pub revisions: Revisions,
}

impl Meta {
    /// Merges the rows of two partitions: takes the higher epoch and the higher of each revision.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        let (one, two) = (self.revisions, other.revisions);
        Self {
            epoch: self.epoch.max(other.epoch),
            revisions: Revisions {
                shards: one.shards.max(two.shards),
                hosts: one.hosts.max(two.hosts),
                operations: one.operations.max(two.operations),
            },
        }
    }
}

/// Identifies one report of an agent. A later report compares greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ReportId {
    /// The agent's boot.
    pub boot: BootId,
    /// The number of the report within that boot.
    pub sequence: u64,
}

/// One host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRow {
    /// The host's id.
    pub host: HostId,
    /// The host's name.
    pub name: HostName,
    /// The host's address, as an operator entered it.
    pub address: Option<String>,
    /// The host's labels.
    pub labels: Labels,
    /// Whether heartbeats arrive from the host's agent.
    pub status: HostStatus,
    /// The time at which the host was enrolled.
    #[serde(with = "millis")]
    pub enrolled_at: Timestamp,
    /// The time at which the last heartbeat arrived. The value in memory may be newer than the
    /// stored value, because a heartbeat that changes nothing else is not stored.
    #[serde(with = "optional_millis")]
    pub last_heartbeat: Option<Timestamp>,
    /// The interval between the agent's heartbeats, in milliseconds.
    pub interval_ms: u32,
    /// The agent's version.
    pub agent_version: Option<Text>,
    /// The reason why the agent could not read its inventory at the last heartbeat.
    pub inventory_error: Option<Text>,
    /// The last report that was applied. The value in memory may be newer than the stored value.
    /// Every durable change of the host stores the current value.
    pub applied: Option<ReportId>,
}

/// One decky on one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardRow {
    /// The host.
    pub host: HostId,
    /// The decky.
    pub decky: DeckyId,
    /// The decky's IP address.
    pub ip: Option<String>,
    /// The decky's services.
    pub services: Services,
    /// The decky's labels.
    pub labels: Labels,
    /// The shard's state.
    pub state: ShardState,
    /// The state that the agent last reported. The shard returns to this state when its operation
    /// is cancelled.
    pub reported: ReportedState,
    /// The reason why the shard is degraded or its teardown failed.
    pub last_error: Option<Text>,
    /// The operation that last took the shard over.
    pub operation: Option<OperationId>,
    /// The time at which the agent last listed the shard, as known when this row was last stored.
    #[serde(with = "millis")]
    pub last_seen: Timestamp,
    /// The time at which this row last changed.
    #[serde(with = "millis")]
    pub updated_at: Timestamp,
    /// The revision of the `shards.updated` message that announced this row.
    pub revision: u64,
    /// The revision of the `shards.updated` message that announced the shard's registration. It
    /// distinguishes one deployment of a decky from the next.
    pub registered: u64,
}

impl ShardRow {
    /// Turns the row into the row of a shard that its agent no longer reports.
    pub(crate) fn into_unreported(self) -> Self {
        Self {
            state: ShardState::Degraded,
            last_error: Some(Text::from(NOT_REPORTED)),
            ..self
        }
    }
}

/// The error of a shard that its agent no longer reports.
const NOT_REPORTED: &str = "not reported by its agent";

/// One operation.
///
/// The open operations are also the outbox: each row contains the time at which its command is due,
/// so no separate queue has to be stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationRow {
    /// The operation's id.
    pub id: OperationId,
    /// The host.
    pub host: HostId,
    /// The host's name when the operation was accepted.
    pub host_name: HostName,
    /// The decky, or `None` for the whole host.
    pub decky: Option<DeckyId>,
    /// The operation's state.
    pub state: OperationState,
    /// The user who requested the operation.
    pub requested_by: String,
    /// The reason that the requester gave.
    pub reason: Option<String>,
    /// The time at which the operation was accepted.
    #[serde(with = "millis")]
    pub accepted_at: Timestamp,
    /// The time at which the operation times out.
    #[serde(with = "millis")]
    pub deadline: Timestamp,
    /// The time at which the agent's report about the start of the operation arrived.
    #[serde(with = "optional_millis")]
    pub started_at: Option<Timestamp>,
    /// The time at which the operation ended.
    #[serde(with = "optional_millis")]
    pub finished_at: Option<Timestamp>,
    /// The number of times that the command was sent.
    pub attempts: u32,
    /// The number of times that the command was sent since the agent was last known to be back. The
    /// retry delay grows with this number.
    pub unanswered: u32,
    /// The time at which the command is sent next. While the operation is queued, this is the
    /// teardown command, and while it is cancelled, the cancel command.
    #[serde(with = "millis")]
    pub next_attempt_at: Timestamp,
    /// The reason why the operation failed.
    pub error: Option<Text>,
    /// The last `shards.updated` revision before the operation was accepted. A shard that was
    /// registered later is a different deployment, which the operation does not cover.
    pub covers_until: u64,
    /// The shards that the operation covers and their outcomes, sorted by decky.
    pub outcomes: Vec<OutcomeRow>,
    /// The request's trace context.
    pub trace: Option<Trace>,
}

/// The outcome of an operation for one shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeRow {
    /// The decky.
    pub decky: DeckyId,
    /// The outcome.
    pub outcome: ShardOutcome,
    /// The reason why the teardown of this shard failed.
    pub error: Option<Text>,
}

/// Identifies an idempotency key. Two requesters may use the same key for different requests.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KeyId {
    /// The user who sent the request.
    pub requester: String,
    /// The value of the request's `Nats-Msg-Id` header.
    pub key: String,
}

/// A teardown request with an idempotency key, and the reply to the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRow {
    /// The key.
    pub id: KeyId,
    /// A hash of the request.
    pub request: Uuid,
    /// The time at which the request was accepted.
    #[serde(with = "millis")]
    pub answered_at: Timestamp,
    /// The new operation, or the open operation that already covered the target.
    pub operation: OperationId,
    /// Whether the operation was already open.
    pub joined: bool,
    /// The host.
    pub host: HostId,
    /// The host's name.
    pub host_name: HostName,
    /// The operation's decky, or `None` for the whole host.
    pub decky: Option<DeckyId>,
    /// The number of shards that the operation covers.
    pub shards: u32,
    /// The operation's deadline.
    #[serde(with = "millis")]
    pub deadline: Timestamp,
}

mod millis {
    use scuttle_schemas::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer};

    #[allow(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde requires this signature"
    )]
    pub(super) fn serialize<S: Serializer>(at: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_i64(at.as_millis())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        i64::deserialize(from).map(Timestamp::from_millis)
    }
}

mod optional_millis {
    use scuttle_schemas::Timestamp;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[allow(clippy::ref_option, reason = "serde requires this signature")]
    pub(super) fn serialize<S: Serializer>(
        at: &Option<Timestamp>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        at.map(Timestamp::as_millis).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        Ok(Option::<i64>::deserialize(from)?.map(Timestamp::from_millis))
    }
}
