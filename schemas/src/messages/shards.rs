//! Shards: the record, the broadcast, and the list.

use serde::{Deserialize, Serialize};

use crate::messages::message_type::message_type;
use crate::messages::page::PageLimit;
use crate::types::ids::{DeckyId, HostId, HostName, OperationId};
use crate::types::labels::{Labels, Services};
use crate::types::text::Text;
use crate::types::timestamp::Timestamp;

/// The state of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ShardState {
    /// The agent reports that the decky is being deployed.
    Pending,
    /// The agent reports that the decky runs.
    Running,
    /// The agent reports that the decky does not run completely, or no longer reports the decky.
    Degraded,
    /// The agent reports that the decky does not run.
    Failed,
    /// An operation is removing the shard.
    TearingDown,
    /// An operation could not remove the shard. `last_error` says why.
    TeardownFailed,
}

impl ShardState {
    /// All states, in the order of their discriminants.
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
    /// The host.
    pub host_uuid: HostId,
    /// The name of the host.
    pub host_name: HostName,
    /// The decky.
    pub decky_id: DeckyId,
    /// The IP address of the decky, as the agent reports it.
    #[cfg_attr(feature = "generate", schemars(length(max = 64)))]
    pub decky_ip: Option<String>,
    /// The services of the decky.
    pub services: Services,
    /// The labels of the decky.
    pub labels: Labels,
    /// The state of the shard.
    pub state: ShardState,
    /// Why the shard is degraded, or why its teardown failed.
    pub last_error: Option<Text>,
    /// The operation that last took the shard over.
    pub operation_id: Option<OperationId>,
    /// When the agent last reported the decky.
    pub last_seen: Timestamp,
    /// When the record last changed.
    pub updated_at: Timestamp,
    /// The revision of the `shards.updated` message that announced this record.
    pub revision: u64,
}

message_type!(
    /// The `type` of `ShardsUpdated`.
    ShardsUpdatedType = "scuttle.v1.shards_updated"
);

/// Announces shards that have changed or were removed. Without shards, repeats the last revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct ShardsUpdated {
    /// Always `scuttle.v1.shards_updated`.
    #[serde(rename = "type")]
    pub kind: ShardsUpdatedType,
    /// The revision: one more than in the previous message, or the same for a repeat.
    pub revision: u64,
    /// When the change was decided.
    pub at: Timestamp,
    /// The operation that caused the change. Null if there is none, or if there are several.
    pub operation_id: Option<OperationId>,
    /// The changed shards, as complete records.
    pub updated: Vec<ShardRecord>,
    /// The removed shards.
    pub removed: Vec<RemovedShard>,
}

/// A removed shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct RemovedShard {
    /// The host.
    pub host_uuid: HostId,
    /// The decky.
    pub decky_id: DeckyId,
    /// The revision of the message that announced the removal.
    pub revision: u64,
}

/// Requests one page of the shards, sorted by (`host_uuid`, `decky_id`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct ShardsListRequest {
    /// Lists only the shards of this host.
    #[serde(default)]
    pub host_uuid: Option<HostId>,
    /// Lists only shards in this state.
    #[serde(default)]
    pub state: Option<ShardState>,
    /// The `next` of the previous page. Absent for the first page.
    #[serde(default)]
    pub after: Option<String>,
    /// The most records to return, 1 to 1000. Default: 500.
    #[serde(default)]
    pub limit: PageLimit,
}

/// One page of shards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct ShardsList {
    /// The last `shards.updated` revision whose changes this page contains.
    pub revision: u64,
    /// The shards. There may be fewer than `limit` although `next` is set.
    #[cfg_attr(feature = "generate", schemars(length(max = 1000)))]
    pub shards: Vec<ShardRecord>,
    /// The cursor for the next page, or null if this is the last page.
    pub next: Option<String>,
}
