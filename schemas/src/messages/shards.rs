//! Shards: the record, the broadcast, and the list.

use serde::{Deserialize, Serialize};

use crate::messages::message_type::message_type;
use crate::messages::page::PageLimit;
use crate::types::deployment::Deployment;
use crate::types::ids::{DeckyId, HostId, HostName, OperationId};
use crate::types::labels::{Labels, Services};
use crate::types::text::Text;
use crate::types::timestamp::Timestamp;

/// The state of a shard, which follows from its agent's reports and its operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ShardState {
    /// The agent reports that the decky is being deployed.
    Pending,
    /// The agent reports that the decky is running.
    Running,
    /// The agent reports that the decky is not running completely, or no longer reports the decky.
    Degraded,
    /// The agent reports that the decky is not running.
    Failed,
    /// An open operation is tearing down the decky.
    TearingDown,
    /// An operation could not remove the decky. `last_error` gives the reason.
    TeardownFailed,
}

impl ShardState {
    /// All states, sorted by discriminant.
    pub const ALL: [Self; 6] = [
        Self::Pending,
        Self::Running,
        Self::Degraded,
        Self::Failed,
        Self::TearingDown,
        Self::TeardownFailed,
    ];
}

/// The record of a shard: one decky on one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct ShardRecord {
    /// The id of the host on which the decky is deployed.
    pub host_uuid: HostId,
    /// The name of the host on which the decky is deployed.
    pub host_name: HostName,
    /// The id of the decky, unique on its host.
    pub decky_id: DeckyId,
    /// The IP address of the decky, as the agent reports it.
    #[cfg_attr(feature = "generate", schemars(length(max = 64)))]
    pub decky_ip: Option<String>,
    /// The names of the decky's services, for example `ssh`.
    pub services: Services,
    /// The labels of the decky, as the agent reports them.
    pub labels: Labels,
    /// The state of the shard, which follows from its agent's reports and its operations.
    pub state: ShardState,
    /// The reason why the shard is degraded or its teardown failed. Null otherwise.
    pub last_error: Option<Text>,
    /// The id of the operation that last took the shard over, or null if no operation ever did.
    pub operation_id: Option<OperationId>,
    /// The identity of this deployment of the decky, as the agent reports it. It changes when the
    /// decky is deployed again. Absent if the agent does not report deployments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<Deployment>,
    /// Whether the decky is protected from teardowns: by a request, by its label
    /// `scuttle.protected=true`, or because its host is protected.
    #[serde(default)]
    pub protected: bool,
    /// The time at which the agent last reported the decky.
    pub last_seen: Timestamp,
    /// The time at which the record last changed.
    pub updated_at: Timestamp,
    /// The revision of the `shards.updated` message that announced this record.
    pub revision: u64,
}

message_type!(
    /// The value of the `type` field of a [`ShardsUpdated`].
    ShardsUpdatedType = "scuttle.v1.shards_updated"
);

/// A broadcast that announces changed and removed shards. Without shards, the broadcast repeats the
/// last revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct ShardsUpdated {
    /// Always `scuttle.v1.shards_updated`.
    #[serde(rename = "type")]
    pub kind: ShardsUpdatedType,
    /// The revision of this message: one more than in the previous message on the same subject, or
    /// the same number in a repeat.
    pub revision: u64,
    /// The time at which the changes were decided.
    pub at: Timestamp,
    /// The id of the operation that caused the changes. Null if no operation or several operations
    /// did.
    pub operation_id: Option<OperationId>,
    /// The changed shards, as complete records.
    pub updated: Vec<ShardRecord>,
    /// The shards that were removed from the record.
    pub removed: Vec<RemovedShard>,
}

/// A shard that was removed from the record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct RemovedShard {
    /// The id of the host on which the decky was deployed.
    pub host_uuid: HostId,
    /// The id of the decky, unique on its host.
    pub decky_id: DeckyId,
    /// The revision of the message that announced the removal.
    pub revision: u64,
}

/// A request for one page of the shards, sorted by (`host_uuid`, `decky_id`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct ShardsListRequest {
    /// The id of the host whose shards to list. Absent or null for all hosts.
    #[serde(default)]
    pub host_uuid: Option<HostId>,
    /// The state of the shards to list. Absent or null for all states.
    #[serde(default)]
    pub state: Option<ShardState>,
    /// The `next` in the reply with the previous page. Absent for the first page.
    #[serde(default)]
    pub after: Option<String>,
    /// The maximum number of shards to return, 1 to 1000. Default: 500.
    #[serde(default)]
    pub limit: PageLimit,
}

/// The reply to a request for one page of the shards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct ShardsList {
    /// The last `shards.updated` revision whose changes this page contains.
    pub revision: u64,
    /// The shards on this page, sorted by (`host_uuid`, `decky_id`). There may be fewer than
    /// `limit` even if `next` is set.
    #[cfg_attr(feature = "generate", schemars(length(max = 1000)))]
    pub shards: Vec<ShardRecord>,
    /// The cursor for the next page, or null if this is the last page.
    pub next: Option<String>,
}
