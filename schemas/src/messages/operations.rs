//! Operations: the record, the broadcast, and the requests to list, get and cancel.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::messages::message_type::message_type;
use crate::messages::page::PageLimit;
use crate::types::ids::{DeckyId, HostId, HostName, OperationId};
use crate::types::text::Text;
use crate::types::timestamp::Timestamp;

/// The kind of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OperationKind {
    /// Tears down a decky or a whole host.
    Teardown,
}

/// The state of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OperationState {
    /// The operation was accepted, but no agent has started it.
    Queued,
    /// The agent has started the operation.
    Running,
    /// Every shard is gone.
    Succeeded,
    /// The agent reported an error for at least one shard, or the host was decommissioned by force.
    Failed,
    /// The deadline passed before the result arrived.
    TimedOut,
    /// An operator cancelled the operation while it was queued.
    Cancelled,
}

impl OperationState {
    /// All states, in the order of their discriminants.
    pub const ALL: [Self; 6] = [
        Self::Queued,
        Self::Running,
        Self::Succeeded,
        Self::Failed,
        Self::TimedOut,
        Self::Cancelled,
    ];
}

/// The outcome of an operation for one shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ShardOutcome {
    /// The outcome is not known yet.
    Pending,
    /// The agent removed the decky, looked again, and found nothing.
    Removed,
    /// The agent found nothing to remove.
    Absent,
    /// The agent could not remove the decky.
    Failed,
}

/// The number of shards with each outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct OutcomeCounts {
    /// Shards whose outcome is not known yet.
    pub pending: usize,
    /// Shards that were removed.
    pub removed: usize,
    /// Shards that were not found.
    pub absent: usize,
    /// Shards that could not be removed.
    pub failed: usize,
}

/// One shard of an operation, with its outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct OperationShard {
    /// The decky.
    pub decky_id: DeckyId,
    /// The outcome.
    pub outcome: ShardOutcome,
    /// Why the teardown failed.
    pub error: Option<Text>,
}

/// The one thing that an open operation waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct WaitingFor {
    /// For programs: `agent` (waits until the agent is online or starts the operation), `operation`
    /// (waits for another operation of the host, which the agent runs first) or `teardown` (waits
    /// until the agent finishes the teardown).
    pub what: Cow<'static, str>,
    /// An explanation for people.
    pub detail: Cow<'static, str>,
    /// Since when the operation waits for this.
    pub since: Timestamp,
    /// When the command is sent next.
    pub next_attempt_at: Option<Timestamp>,
}

/// The record of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct OperationRecord {
    /// The operation.
    pub operation_id: OperationId,
    /// The kind of the operation.
    pub kind: OperationKind,
    /// The host.
    pub host_uuid: HostId,
    /// The host's name when the operation was accepted.
    pub host_name: HostName,
    /// The decky, or null for the whole host.
    pub decky_id: Option<DeckyId>,
    /// The state of the operation.
    pub state: OperationState,
    /// The user that the NATS server vouches for, or `unknown`.
    #[cfg_attr(feature = "generate", schemars(length(max = 128)))]
    pub requested_by: String,
    /// The reason that the requester gave.
    #[cfg_attr(feature = "generate", schemars(length(max = crate::types::text::MAX_TEXT_CHARS)))]
    pub reason: Option<String>,
    /// When the operation was accepted.
    pub accepted_at: Timestamp,
    /// When the operation times out.
    pub deadline: Timestamp,
    /// When the operation ended.
    pub finished_at: Option<Timestamp>,
    /// How many times the command was sent.
    pub attempts: u32,
    /// Why the teardown failed.
    pub error: Option<Text>,
    /// The number of shards with each outcome.
    pub counts: OutcomeCounts,
    /// The shards, failed ones first, at most 1,000. Only the reply to `swarm.operations.get` has
    /// them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "generate", schemars(length(max = MAX_LISTED_OUTCOMES)))]
    pub shards: Option<Vec<OperationShard>>,
    /// What the operation waits for. Null once the operation has ended.
    pub waiting_for: Option<WaitingFor>,
}

/// The largest number of shards in the reply to `swarm.operations.get`.
pub const MAX_LISTED_OUTCOMES: usize = 1000;

message_type!(
    /// The `type` of `OperationsUpdated`.
    OperationsUpdatedType = "scuttle.v1.operations_updated"
);

/// Announces operations that have changed. Without operations, repeats the last revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct OperationsUpdated {
    /// Always `scuttle.v1.operations_updated`.
    #[serde(rename = "type")]
    pub kind: OperationsUpdatedType,
    /// The revision: one more than in the previous message, or the same for a repeat.
    pub revision: u64,
    /// When the change was decided.
    pub at: Timestamp,
    /// The changed operations, as complete records without `shards`.
    pub updated: Vec<OperationRecord>,
}

/// Requests one page of the operations, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct OperationsListRequest {
    /// Lists only the operations of this host.
    #[serde(default)]
    pub host_uuid: Option<HostId>,
    /// Lists only operations in this state.
    #[serde(default)]
    pub state: Option<OperationState>,
    /// The `next` of the previous page. Absent for the first page.
    #[serde(default)]
    pub after: Option<String>,
    /// The most records to return, 1 to 1000. Default: 500.
    #[serde(default)]
    pub limit: PageLimit,
}

/// One page of operations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct OperationsList {
    /// The last `operations.updated` revision whose changes this page contains.
    pub revision: u64,
    /// The operations, without `shards`.
    #[cfg_attr(feature = "generate", schemars(length(max = 1000)))]
    pub operations: Vec<OperationRecord>,
    /// The cursor for the next page, or null if this is the last page.
    pub next: Option<String>,
}

/// Requests one operation with its shards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct OperationGetRequest {
    /// The operation.
    pub operation_id: OperationId,
}

/// One operation with its shards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct OperationGetReply {
    /// The operation, with `shards`.
    pub operation: OperationRecord,
}

/// Requests to cancel a queued operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct CancelRequest {
    /// The operation.
    pub operation_id: OperationId,
}

/// The operation is cancelled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct CancelAccepted {
    /// Always true.
    #[cfg_attr(feature = "generate", schemars(extend("const" = true)))]
    pub accepted: bool,
    /// The operation.
    pub operation: OperationRecord,
}
