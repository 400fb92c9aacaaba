//! The rows that are kept on disk: the durable part of the state, as the store encodes it.
//!
//! Times are stored as milliseconds since 1970. The order of fields and variants is the format.

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

/// A W3C trace context, passed on as it came.
pub type Trace = Arc<str>;

/// The last revision told on each broadcast subject.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revisions {
    /// `shards.updated`.
    pub shards: u64,
    /// `hosts.updated`.
    pub hosts: u64,
    /// `operations.updated`.
    pub operations: u64,
}

/// What the whole swarm has once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// This start's `controller_epoch`.
    pub epoch: u64,
    /// The last revisions told.
    pub revisions: Revisions,
}

impl Meta {
    /// Of two parts of a swarm together: the higher of each.
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

/// Which of an agent's observations something is: by boot, then by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ReportId {
    /// The agent's boot.
    pub boot: BootId,
    /// That boot's number.
    pub sequence: u64,
}

/// One host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRow {
    /// The host.
    pub host: HostId,
    /// Its name.
    pub name: HostName,
    /// Where it is, in the operator's words.
    pub address: Option<String>,
    /// Its labels.
    pub labels: Labels,
    /// Whether its agent is heard.
    pub status: HostStatus,
    /// When it was enrolled.
    #[serde(with = "millis")]
    pub enrolled_at: Timestamp,
    /// When its agent was last heard. In memory this runs ahead of the disk.
    #[serde(with = "optional_millis")]
    pub last_heartbeat: Option<Timestamp>,
    /// Milliseconds between its agent's heartbeats.
    pub interval_ms: u32,
    /// Its agent's version.
    pub agent_version: Option<Text>,
    /// Why its agent cannot read its inventory, if it said so last.
    pub inventory_error: Option<Text>,
    /// The last report applied. In memory this runs ahead of the disk, but is written with every
    /// durable change of the host.
    pub applied: Option<ReportId>,
}

/// One decky on one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardRow {
    /// The host.
    pub host: HostId,
    /// The decky.
    pub decky: DeckyId,
    /// Its address.
    pub ip: Option<String>,
    /// Its services.
    pub services: Services,
    /// Its labels.
    pub labels: Labels,
    /// Its state.
    pub state: ShardState,
    /// What its agent last reported: what it goes back to when its operation is cancelled.
    pub reported: ReportedState,
    /// Why it is not as it should be.
    pub last_error: Option<Text>,
    /// The operation that last took hold of it.
    pub operation: Option<OperationId>,
    /// When its agent last reported it, as far as this row was written since.
    #[serde(with = "millis")]
    pub last_seen: Timestamp,
    /// When this row changed.
    #[serde(with = "millis")]
    pub updated_at: Timestamp,
    /// The `shards.updated` message that told this row.
    pub revision: u64,
    /// The `shards.updated` message that told its registration: which deployment this is.
    pub registered: u64,
}

/// One operation: also the outbox, since an open one knows when its command is due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationRow {
    /// The operation.
    pub id: OperationId,
    /// The host.
    pub host: HostId,
    /// The host's name at the acceptance.
    pub host_name: HostName,
    /// The decky; none: the whole host.
    pub decky: Option<DeckyId>,
    /// How far it is.
    pub state: OperationState,
    /// Who asked.
    pub requested_by: String,
    /// Why, in the operator's words.
    pub reason: Option<String>,
    /// When it was accepted.
    #[serde(with = "millis")]
    pub accepted_at: Timestamp,
    /// When it is given up.
    #[serde(with = "millis")]
    pub deadline: Timestamp,
    /// When its agent said that it started.
    #[serde(with = "optional_millis")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(with = "optional_millis")]
    pub finished_at: Option<Timestamp>,
    /// How many times the command was sent.
    pub attempts: u32,
    /// How many of those since the agent was last known to have come back: what the backoff grows by.
    pub unanswered: u32,
    /// When the command is sent again, while queued; when its withdrawal is, while cancelled.
    #[serde(with = "millis")]
    pub next_attempt_at: Timestamp,
    /// Why it failed.
    pub error: Option<Text>,
    /// The last `shards.updated` revision before the acceptance: what was registered later is another
    /// deployment, and not covered.
    pub covers_until: u64,
    /// The shards it covers, by decky, and what became of each.
    pub outcomes: Vec<OutcomeRow>,
    /// The request's trace context.
    pub trace: Option<Trace>,
}

/// What became of one shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeRow {
    /// The decky.
    pub decky: DeckyId,
    /// What became of it.
    pub outcome: ShardOutcome,
    /// Why it failed.
    pub error: Option<Text>,
}

/// Which request an idempotency key stands for: keys are each requester's own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KeyId {
    /// Who asked.
    pub requester: String,
    /// The key.
    pub key: String,
}

/// A request that came with an idempotency key, and how it was answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRow {
    /// The key.
    pub id: KeyId,
    /// A hash over the request.
    pub request: Uuid,
    /// When it was answered.
    #[serde(with = "millis")]
    pub answered_at: Timestamp,
    /// The operation: a new one, or the open one that covered the target.
    pub operation: OperationId,
    /// That one was open already.
    pub joined: bool,
    /// The host.
    pub host: HostId,
    /// Its name.
    pub host_name: HostName,
    /// The operation's decky; none: the whole host.
    pub decky: Option<DeckyId>,
    /// How many shards the operation covers.
    pub shards: u32,
    /// The operation's deadline.
    #[serde(with = "millis")]
    pub deadline: Timestamp,
}

const NOT_REPORTED: &str = "not reported by its agent";

/// The row of a shard that its agent no longer reports.
pub(crate) fn not_reported(row: ShardRow) -> ShardRow {
    ShardRow {
        state: ShardState::Degraded,
        last_error: Some(Text::from(NOT_REPORTED)),
        ..row
    }
}

mod millis {
    use scuttle_schemas::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer};

    #[allow(
        clippy::trivially_copy_pass_by_ref,
        reason = "the signature that serde calls"
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

    #[allow(clippy::ref_option, reason = "the signature that serde calls")]
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
