//! Operations: the record, its broadcast, its list, `get` and `cancel`.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::messages::message_type::message_type;
use crate::messages::page::PageLimit;
use crate::types::ids::{DeckyId, HostId, HostName, OperationId};
use crate::types::text::Text;
use crate::types::timestamp::Timestamp;

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OperationKind {
    /// Takes down a decky or a whole host.
    Teardown,
}

/// How far an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OperationState {
    /// Accepted; no agent has started it.
    Queued,
    /// The agent said that it started.
    Running,
    /// Every shard is gone.
    Succeeded,
    /// The agent reported an error.
    Failed,
    /// The deadline passed.
    TimedOut,
    /// Withdrawn while queued.
    Cancelled,
}

impl OperationState {
    /// All of them, in their order.
    pub const ALL: [Self; 6] = [
        Self::Queued,
        Self::Running,
        Self::Succeeded,
        Self::Failed,
        Self::TimedOut,
        Self::Cancelled,
    ];
}

/// What became of one shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ShardOutcome {
    /// Not known yet.
    Pending,
    /// The agent removed it, looked again and found nothing.
    Removed,
    /// The agent found nothing to remove.
    Absent,
    /// The agent could not remove it.
    Failed,
}

/// How many shards have which outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct OutcomeCounts {
    /// Not known yet.
    pub pending: usize,
    /// Removed.
    pub removed: usize,
    /// Not found.
    pub absent: usize,
    /// Not removed.
    pub failed: usize,
}

/// One shard of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct OperationShard {
    /// The decky.
    pub decky_id: DeckyId,
    /// What became of it.
    pub outcome: ShardOutcome,
    /// Why it failed.
    pub error: Option<Text>,
}

/// The one thing that an open operation waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct WaitingFor {
    /// In one word, for programs: `agent` (to be heard, or to start), `operation` (another one of the
    /// host, which its agent runs first) or `teardown` (which its agent is at work on).
    pub what: Cow<'static, str>,
    /// For people.
    pub detail: Cow<'static, str>,
    /// Since when.
    pub since: Timestamp,
    /// When the command is sent again.
    pub next_attempt_at: Option<Timestamp>,
}

/// One operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct OperationRecord {
    /// The operation.
    pub operation_id: OperationId,
    /// What it does.
    pub kind: OperationKind,
    /// The host.
    pub host_uuid: HostId,
    /// The host's name when the operation was accepted.
    pub host_name: HostName,
    /// The decky; null: the whole host.
    pub decky_id: Option<DeckyId>,
    /// How far it is.
    pub state: OperationState,
    /// The user that the NATS server vouches for, or `unknown`.
    #[cfg_attr(feature = "generate", schemars(length(max = 128)))]
    pub requested_by: String,
    /// Why, in the operator's words.
    #[cfg_attr(feature = "generate", schemars(length(max = crate::types::text::MAX_TEXT_CHARS)))]
    pub reason: Option<String>,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// When it is given up.
    pub deadline: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// How many times the command was sent.
    pub attempts: u32,
    /// Why it failed.
    pub error: Option<Text>,
    /// How many shards have which outcome.
    pub counts: OutcomeCounts,
    /// The shards, failed ones first, at most 1,000; only `swarm.operations.get` has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "generate", schemars(length(max = MAX_LISTED_OUTCOMES)))]
    pub shards: Option<Vec<OperationShard>>,
    /// What it waits for; null once it has ended.
    pub waiting_for: Option<WaitingFor>,
}

/// The most shards in the answer of `swarm.operations.get`.
pub const MAX_LISTED_OUTCOMES: usize = 1000;

message_type!(
    /// `type` of `OperationsUpdated`.
    OperationsUpdatedType = "scuttle.v1.operations_updated"
);

/// Broadcast: operations that changed; empty: this is the last revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct OperationsUpdated {
    /// Always `scuttle.v1.operations_updated`.
    #[serde(rename = "type")]
    pub kind: OperationsUpdatedType,
    /// One more than the last message's.
    pub revision: u64,
    /// When it was decided.
    pub at: Timestamp,
    /// Whole records, without `shards`.
    pub updated: Vec<OperationRecord>,
}

/// Pages through the operations, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct OperationsListRequest {
    /// Only this host's.
    #[serde(default)]
    pub host_uuid: Option<HostId>,
    /// Only those in this state.
    #[serde(default)]
    pub state: Option<OperationState>,
    /// Where the last page ended: its `next`.
    #[serde(default)]
    pub after: Option<String>,
    /// 1 to 1000, 500 if absent.
    #[serde(default)]
    pub limit: PageLimit,
}

/// One page of operations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct OperationsList {
    /// The last `operations.updated` revision that this page contains.
    pub revision: u64,
    /// The records, without `shards`.
    #[cfg_attr(feature = "generate", schemars(length(max = 1000)))]
    pub operations: Vec<OperationRecord>,
    /// Where the next page starts; null: this was the last.
    pub next: Option<String>,
}

/// Asks for one operation, whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct OperationGetRequest {
    /// The operation.
    pub operation_id: OperationId,
}

/// One operation, whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct OperationGetReply {
    /// The operation, with `shards`.
    pub operation: OperationRecord,
}

/// Withdraws a queued operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct CancelRequest {
    /// The operation.
    pub operation_id: OperationId,
}

/// The operation is withdrawn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct CancelAccepted {
    /// Always true.
    #[cfg_attr(feature = "generate", schemars(extend("const" = true)))]
    pub accepted: bool,
    /// The operation.
    pub operation: OperationRecord,
}
