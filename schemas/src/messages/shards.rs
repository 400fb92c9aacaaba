//! Shards: the record, its broadcast and its list.

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
    /// Being deployed, says its agent.
    Pending,
    /// Up, says its agent.
    Running,
    /// Not as it should be, says its agent, or no longer reported by it.
    Degraded,
    /// Down, says its agent.
    Failed,
    /// An operation is to remove it.
    TearingDown,
    /// An operation could not remove it; `last_error` says why.
    TeardownFailed,
}

impl ShardState {
    /// All of them, in their order.
    pub const ALL: [Self; 6] = [
        Self::Pending,
        Self::Running,
        Self::Degraded,
        Self::Failed,
        Self::TearingDown,
        Self::TeardownFailed,
    ];
}

/// One decky on one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct ShardRecord {
    /// The host.
    pub host_uuid: HostId,
    /// Its name.
    pub host_name: HostName,
    /// The decky.
    pub decky_id: DeckyId,
    /// Its address, as its agent reports it.
    #[cfg_attr(feature = "generate", schemars(length(max = 64)))]
    pub decky_ip: Option<String>,
    /// Its services.
    pub services: Services,
    /// Its labels.
    pub labels: Labels,
    /// Its state.
    pub state: ShardState,
    /// Why it is not as it should be.
    pub last_error: Option<Text>,
    /// The operation that last took hold of it.
    pub operation_id: Option<OperationId>,
    /// When its agent last reported it.
    pub last_seen: Timestamp,
    /// When this record last changed.
    pub updated_at: Timestamp,
    /// The `shards.updated` message that told this.
    pub revision: u64,
}

message_type!(
    /// `type` of `ShardsUpdated`.
    ShardsUpdatedType = "scuttle.v1.shards_updated"
);

/// Broadcast: shards that changed, shards that went; both empty: this is the last revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct ShardsUpdated {
    /// Always `scuttle.v1.shards_updated`.
    #[serde(rename = "type")]
    pub kind: ShardsUpdatedType,
    /// One more than the last message's.
    pub revision: u64,
    /// When it was decided.
    pub at: Timestamp,
    /// The operation that did it, if one did.
    pub operation_id: Option<OperationId>,
    /// Whole records.
    pub updated: Vec<ShardRecord>,
    /// Shards that are gone.
    pub removed: Vec<RemovedShard>,
}

/// A shard that is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct RemovedShard {
    /// The host.
    pub host_uuid: HostId,
    /// The decky.
    pub decky_id: DeckyId,
    /// The message that told it.
    pub revision: u64,
}

/// Pages through the shards in the order of (`host_uuid`, `decky_id`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct ShardsListRequest {
    /// Only this host's.
    #[serde(default)]
    pub host_uuid: Option<HostId>,
    /// Only those in this state.
    #[serde(default)]
    pub state: Option<ShardState>,
    /// Where the last page ended: its `next`.
    #[serde(default)]
    pub after: Option<String>,
    /// 1 to 1000, 500 if absent.
    #[serde(default)]
    pub limit: PageLimit,
}

/// One page of shards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct ShardsList {
    /// The last `shards.updated` revision that this page contains.
    pub revision: u64,
    /// The records. May be fewer than the limit while `next` is set.
    #[cfg_attr(feature = "generate", schemars(length(max = 1000)))]
    pub shards: Vec<ShardRecord>,
    /// Where the next page starts; null: this was the last.
    pub next: Option<String>,
}
