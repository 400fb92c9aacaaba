//! Operations: the record, the broadcast, and the requests to list, get and cancel.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::messages::agents::Evidence;
use crate::messages::message_type::message_type;
use crate::messages::page::PageLimit;
use crate::types::ids::{DeckyId, HostId, HostName, OperationId};
use crate::types::text::Text;
use crate::types::timestamp::Timestamp;

/// The kind of work that an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OperationKind {
    /// The teardown of one decky or a whole host.
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
    /// Every shard that the operation covers is gone.
    Succeeded,
    /// The agent reported an error, or the host was decommissioned before the operation ended.
    Failed,
    /// The deadline passed before the result arrived, and no inventory proved that every shard is
    /// gone.
    TimedOut,
    /// An operator cancelled the operation while it was queued.
    Cancelled,
}

impl OperationState {
    /// All states, sorted by discriminant.
    pub const ALL: [Self; 6] = [
        Self::Queued,
        Self::Running,
        Self::Succeeded,
        Self::Failed,
        Self::TimedOut,
        Self::Cancelled,
    ];
}

/// What happened to one shard of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ShardOutcome {
    /// The outcome is not known yet.
    Pending,
    /// The agent removed the decky and verified that it is gone.
    Removed,
    /// The decky was already gone: the agent found nothing to remove, or no longer lists the decky.
    Absent,
    /// The decky could not be removed, or its removal was not confirmed before the operation ended.
    Failed,
}

/// The number of an operation's shards with each outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct OutcomeCounts {
    /// The number of shards whose outcome is not known yet.
    pub pending: usize,
    /// The number of shards that the agent removed.
    pub removed: usize,
    /// The number of shards that were already gone.
    pub absent: usize,
    /// The number of shards that could not be removed.
    pub failed: usize,
}

/// One shard of an operation, with its outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct OperationShard {
    /// The id of the decky, unique on its host.
    pub decky_id: DeckyId,
    /// What happened to the shard.
    pub outcome: ShardOutcome,
    /// The reason why the shard could not be removed. Null without a failure.
    pub error: Option<Text>,
    /// The archive on the agent's host with the logs and changed files of the decky. Absent if none
    /// was saved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
}

/// The condition that an open operation waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct WaitingFor {
    /// The condition that the operation waits for, as a word for programs:
    ///
    /// - `agent`: the agent is online, and has started the operation;
    /// - `operation`: the agent has finished an earlier operation that this one must wait for;
    /// - `teardown`: the agent has finished the teardown.
    pub what: Cow<'static, str>,
    /// An explanation for people.
    pub detail: Cow<'static, str>,
    /// The time at which the wait for this condition began.
    pub since: Timestamp,
    /// The time at which the command is sent next, or null if the agent has started the operation.
    pub next_attempt_at: Option<Timestamp>,
}

/// The record of an operation, as lists and broadcasts contain it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct OperationRecord {
    /// The id of the operation. Ids sort by the time of acceptance.
    pub operation_id: OperationId,
    /// The kind of work that the operation does.
    pub kind: OperationKind,
    /// The id of the host whose deckies the operation tears down.
    pub host_uuid: HostId,
    /// The name that the host had when the operation was accepted.
    pub host_name: HostName,
    /// The id of the decky to tear down, or null for the whole host.
    pub decky_id: Option<DeckyId>,
    /// The current state of the operation. An operation is open while it is `queued` or `running`.
    pub state: OperationState,
    /// The user who requested the operation, as the NATS server attests, or `unknown`.
    #[cfg_attr(feature = "generate", schemars(length(max = 128)))]
    pub requested_by: String,
    /// The reason that the requester gave, or null.
    #[cfg_attr(feature = "generate", schemars(length(max = crate::types::text::MAX_TEXT_CHARS)))]
    pub reason: Option<String>,
    /// The time at which the operation was accepted.
    pub accepted_at: Timestamp,
    /// The time at which the operation times out.
    pub deadline: Timestamp,
    /// The time at which the operation ended, or null while it is open.
    pub finished_at: Option<Timestamp>,
    /// The number of times that the teardown command was sent.
    pub attempts: u32,
    /// The reason why the operation failed or timed out. Null otherwise.
    pub error: Option<Text>,
    /// The number of shards with each outcome.
    pub counts: OutcomeCounts,
    /// The shards that the operation covers, with failed shards first. At most 1,000. Only present
    /// in the reply to `swarm.operations.get`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "generate", schemars(length(max = MAX_LISTED_OUTCOMES)))]
    pub shards: Option<Vec<OperationShard>>,
    /// The condition that the operation waits for. Null after the operation has ended.
    pub waiting_for: Option<WaitingFor>,
}

/// The error of an operation that no agent has started before its deadline.
pub const UNDELIVERED: &str = "undelivered";

/// The error of an operation that an agent has started, but whose result has not arrived before the
/// deadline. `: ` and a reason follow if the agent cannot read its inventory.
pub const UNFINISHED: &str = "unfinished";

/// Returns the error of an operation or a shard as a text for people, with sentences in place of
/// [`UNDELIVERED`] and [`UNFINISHED`].
pub fn explain_error(error: &str) -> Cow<'_, str> {
    for (word, text) in [
        (UNDELIVERED, "the host's agent never started it"),
        (
            UNFINISHED,
            "the agent started but did not report back in time",
        ),
    ] {
        match error.strip_prefix(word) {
            Some("") => return text.into(),
            Some(reason) if reason.starts_with(": ") => return format!("{text}{reason}").into(),
            _ => {}
        }
    }
    error.into()
}

/// The maximum number of shards in the reply to `swarm.operations.get`.
pub const MAX_LISTED_OUTCOMES: usize = 1000;

message_type!(
    /// The value of the `type` field of an [`OperationsUpdated`].
    OperationsUpdatedType = "scuttle.v1.operations_updated"
);

/// A broadcast that announces changed operations. Without operations, the broadcast repeats the
/// last revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct OperationsUpdated {
    /// Always `scuttle.v1.operations_updated`.
    #[serde(rename = "type")]
    pub kind: OperationsUpdatedType,
    /// The revision of this message: one more than in the previous message on the same subject, or
    /// the same number in a repeat.
    pub revision: u64,
    /// The time at which the changes were decided.
    pub at: Timestamp,
    /// The changed operations, as complete records without `shards`.
    pub updated: Vec<OperationRecord>,
}

/// A request for one page of the operations, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct OperationsListRequest {
    /// The id of the host whose operations to list. Absent or null for all hosts.
    #[serde(default)]
    pub host_uuid: Option<HostId>,
    /// The state of the operations to list. Absent or null for all states.
    #[serde(default)]
    pub state: Option<OperationState>,
    /// The `next` in the reply with the previous page. Absent for the first page.
    #[serde(default)]
    pub after: Option<String>,
    /// The maximum number of operations to return, 1 to 1000. Default: 500.
    #[serde(default)]
    pub limit: PageLimit,
}

/// The reply to a request for one page of the operations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct OperationsList {
    /// The last `operations.updated` revision whose changes this page contains.
    pub revision: u64,
    /// The operations on this page without their `shards`, newest first. There may be fewer than
    /// `limit` even if `next` is set.
    #[cfg_attr(feature = "generate", schemars(length(max = 1000)))]
    pub operations: Vec<OperationRecord>,
    /// The cursor for the next page, or null if this is the last page.
    pub next: Option<String>,
}

/// A request for one operation with its shards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct OperationGetRequest {
    /// The id of the operation to return.
    pub operation_id: OperationId,
}

/// The reply to a request for one operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct OperationGetReply {
    /// The record of the operation, including its `shards`.
    pub operation: OperationRecord,
}

/// A request to cancel a queued operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct CancelRequest {
    /// The id of the operation to cancel.
    pub operation_id: OperationId,
}

/// The reply to an accepted request to cancel an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct CancelAccepted {
    /// Always true. A rejected request gets an error reply instead.
    #[cfg_attr(feature = "generate", schemars(extend("const" = true)))]
    pub accepted: bool,
    /// The record of the cancelled operation.
    pub operation: OperationRecord,
}

#[cfg(test)]
mod tests {
    use super::explain_error;

    #[test]
    fn an_error_of_one_word_is_explained_and_keeps_its_reason() {
        let unfinished = "the agent started but did not report back in time";
        for (error, text) in [
            ("undelivered", "the host's agent never started it"),
            ("unfinished", unfinished),
            ("unfinished: no Docker", &format!("{unfinished}: no Docker")),
            ("undelivered mail", "undelivered mail"),
            (
                "network trap has active endpoints",
                "network trap has active endpoints",
            ),
        ] {
            assert_eq!(explain_error(error), text);
        }
    }
}
