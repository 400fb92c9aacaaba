//! The rows that are stored on disk: the durable part of the state.
//!
//! Times are stored as milliseconds since 1970. The order of fields and variants is the storage
//! format: do not reorder them. A field that a format adds is the last of its row, and has a
//! default for the rows of earlier formats.

use std::sync::Arc;

use scuttle_schemas::agents::{Evidence, ReportedState};
use scuttle_schemas::hosts::HostStatus;
use scuttle_schemas::operations::{OperationState, ShardOutcome};
use scuttle_schemas::protection::is_protected_by_label;
use scuttle_schemas::shards::ShardState;
use scuttle_schemas::{
    BootId, DeckyId, Deployment, HostId, HostName, Labels, Note, OperationId, Services, Text,
    Timestamp,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A W3C trace context (`traceparent`), which is passed on unchanged.
pub type Trace = Arc<str>;

/// The last revision of each broadcast subject.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revisions {
    /// The last revision on `shards.updated`.
    pub shards: u64,
    /// The last revision on `hosts.updated`.
    pub hosts: u64,
    /// The last revision on `operations.updated`.
    pub operations: u64,
}

/// The epoch, the last revisions and the identity of a record. Each partition has exactly one such
/// row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// The `controller_epoch` that the last start or takeover chose.
    pub epoch: u64,
    /// The last revision of each broadcast subject.
    pub revisions: Revisions,
    /// The identity of the record, which all partitions of a swarm share. It is created before the
    /// record is served for the first time, and never changes. `None` for a record that was last
    /// served by version 0.1.0.
    #[serde(default)]
    pub record: Option<Uuid>,
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
            record: self.record.or(other.record),
        }
    }
}

/// The identity of an agent's report. A later report of the same agent compares greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ReportId {
    /// The run of the agent during which the report was made.
    pub boot: BootId,
    /// The sequence number of the report within the boot.
    pub sequence: u64,
}

/// The stored row of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRow {
    /// The id of the host, which is the key of the row.
    pub host: HostId,
    /// The name of the host, unique among the hosts that are not decommissioned.
    pub name: HostName,
    /// The host's address, as an operator entered it.
    pub address: Option<String>,
    /// The labels that the host was enrolled with.
    pub labels: Labels,
    /// The status of the host: enrolled, online, offline or decommissioned.
    pub status: HostStatus,
    /// The time at which the host was enrolled.
    #[serde(with = "millis")]
    pub enrolled_at: Timestamp,
    /// The time at which the last heartbeat arrived, or `None` before the first heartbeat. The
    /// value in memory may be newer than the stored value, because a heartbeat that changes nothing
    /// else is not stored.
    #[serde(with = "optional_millis")]
    pub last_heartbeat: Option<Timestamp>,
    /// The interval between the agent's heartbeats, in milliseconds.
    pub interval_ms: u32,
    /// The version that the agent last reported, or `None` before the first heartbeat.
    pub agent_version: Option<Text>,
    /// The reason why the agent could not read its inventory at the last heartbeat, or `None` if
    /// the agent could read it.
    pub inventory_error: Option<Text>,
    /// The last report that was applied. The value in memory may be newer than the stored value,
    /// because a report that changes nothing else does not cause a write.
    pub applied: Option<ReportId>,
    /// The notes of the last heartbeat, on what the agent found and could not attribute to a decky.
    #[serde(default)]
    pub notes: Vec<Note>,
    /// Whether a request protects the host with all its deckies from teardowns.
    #[serde(default)]
    pub protected: bool,
}

/// The stored row of a shard: one decky on one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardRow {
    /// The id of the host on which the decky is deployed.
    pub host: HostId,
    /// The id of the decky, unique on its host.
    pub decky: DeckyId,
    /// The decky's IP address, as its agent reports it.
    pub ip: Option<String>,
    /// The decky's services, as its agent reports them.
    pub services: Services,
    /// The decky's labels, as its agent reports them.
    pub labels: Labels,
    /// The state of the shard, which results from its agent's reports and its operations.
    pub state: ShardState,
    /// The state that the agent last reported. The shard returns to this state when its operation
    /// is cancelled.
    pub reported: ReportedState,
    /// The reason why the shard is degraded or its teardown failed, in the states that have one.
    pub last_error: Option<Text>,
    /// The operation that last took the shard over, or `None` if no operation ever did.
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
    /// distinguishes one deployment of a decky from the next: a shard whose `deployment` changes is
    /// registered again.
    pub registered: u64,
    /// The deployment that the agent last reported, or `None` if it never reported one.
    #[serde(default)]
    pub deployment: Option<Deployment>,
    /// The report that first listed the decky since the shard was registered. A result from before
    /// that report says nothing about the registered deployment. `None` if a result registered the
    /// shard, or an earlier version of the controller did.
    #[serde(default)]
    pub first_listed_in: Option<ReportId>,
    /// Whether a request protects the decky from teardowns. Its label or its host may protect it
    /// too.
    #[serde(default)]
    pub protected: bool,
}

impl ShardRow {
    /// Returns whether the shard is protected from teardowns: by a request, by its label, or
    /// because its host is protected.
    pub(crate) fn is_protected_on(&self, host: &HostRow) -> bool {
        self.protected || host.protected || is_protected_by_label(&self.labels)
    }

    /// Returns the row in the state `degraded`, with the error that the agent no longer reports the
    /// shard.
    pub(crate) fn into_unreported(self) -> Self {
        Self {
            state: ShardState::Degraded,
            last_error: Some(Text::from(NOT_REPORTED)),
            ..self
        }
    }

    /// Returns the time since which the agent does not report the shard, or `None` if the agent
    /// reports it, an operation holds it, or no inventory has shown yet that it is missing.
    pub(crate) fn unreported_since(&self) -> Option<Timestamp> {
        let error = self.last_error.as_ref().map(Text::as_str);
        let is_unreported = self.state == ShardState::Degraded && error == Some(NOT_REPORTED);
        is_unreported.then_some(self.updated_at)
    }
}

/// The error of a shard that its agent no longer reports.
const NOT_REPORTED: &str = "not reported by its agent";

/// The stored row of an operation.
///
/// The open operations are also the outbox: each row contains the time at which its command is due,
/// so no separate queue has to be stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationRow {
    /// The id of the operation. Ids sort by the time of acceptance.
    pub id: OperationId,
    /// The host whose deckies the operation tears down.
    pub host: HostId,
    /// The host's name when the operation was accepted.
    pub host_name: HostName,
    /// The decky to tear down, or `None` for the whole host.
    pub decky: Option<DeckyId>,
    /// The state of the operation: open (queued or running), or ended in one of several ways.
    pub state: OperationState,
    /// The user who requested the operation, or `unknown`.
    pub requested_by: String,
    /// The reason that the requester gave, if any.
    pub reason: Option<String>,
    /// The time at which the operation was accepted.
    #[serde(with = "millis")]
    pub accepted_at: Timestamp,
    /// The time at which the operation times out.
    #[serde(with = "millis")]
    pub deadline: Timestamp,
    /// The time at which the agent's first progress report arrived, or `None` if none has arrived.
    #[serde(with = "optional_millis")]
    pub started_at: Option<Timestamp>,
    /// The time at which the operation ended, or `None` while it is open.
    #[serde(with = "optional_millis")]
    pub finished_at: Option<Timestamp>,
    /// The number of times that the teardown command was sent, as of the last change of the row.
    /// Sending the command again does not store the row. The count in memory may be higher.
    pub attempts: u32,
    /// Not used. Earlier versions stored the number of retries here. The field remains, so that the
    /// storage format does not change.
    pub unused_count: u32,
    /// Not used. Earlier versions stored the time of the next retry here. The field remains, so
    /// that the storage format does not change.
    #[serde(with = "millis")]
    pub unused_time: Timestamp,
    /// The reason why the operation failed or timed out.
    pub error: Option<Text>,
    /// The last `shards.updated` revision before the operation was accepted. A shard that was
    /// registered later is a different deployment, which the operation does not cover.
    pub covers_until: u64,
    /// The shards that the operation covers and their outcomes, sorted by decky.
    pub outcomes: Vec<OutcomeRow>,
    /// The trace context of the teardown request or, once it has arrived, of the result.
    pub trace: Option<Trace>,
    /// Whether the agent removes protected deckies too. Every copy of the command says so.
    #[serde(default)]
    pub override_protection: bool,
    /// The evidence that the agent saved, for the deckies that have some, sorted by decky.
    #[serde(default)]
    pub evidence: Vec<EvidenceRow>,
}

/// The outcome of an operation for one shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeRow {
    /// The decky to which the outcome applies.
    pub decky: DeckyId,
    /// What happened to the shard, or `Pending` until that is known.
    pub outcome: ShardOutcome,
    /// The reason why the teardown of this shard failed.
    pub error: Option<Text>,
}

/// The evidence of one decky that an operation removed or stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidenceRow {
    /// The decky whose evidence this is.
    pub decky: DeckyId,
    /// The archive on the agent's host.
    pub evidence: Evidence,
}

/// An idempotency key together with its requester, because two requesters may use the same key for
/// different requests.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KeyId {
    /// The user who sent the request.
    pub requester: String,
    /// The value of the request's `Nats-Msg-Id` header.
    pub key: String,
}

/// The stored row of an idempotency key, with a hash of the teardown request and the content of the
/// reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRow {
    /// The idempotency key and its requester.
    pub id: KeyId,
    /// A hash of the request's content, to detect a different request with the same key.
    pub request: Uuid,
    /// The time at which the request was accepted.
    #[serde(with = "millis")]
    pub answered_at: Timestamp,
    /// The new operation, or the open operation that already covered the target.
    pub operation: OperationId,
    /// Whether the request joined an operation that was already open.
    pub joined: bool,
    /// The host of the operation.
    pub host: HostId,
    /// The host's name when the operation was accepted.
    pub host_name: HostName,
    /// The operation's decky, or `None` for the whole host.
    pub decky: Option<DeckyId>,
    /// The number of shards that the operation covers.
    pub shards: u32,
    /// The time at which the operation times out.
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
