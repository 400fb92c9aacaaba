//! Hosts: the record, the broadcast, and the requests to list, enroll and decommission.

use serde::{Deserialize, Serialize};

use crate::messages::message_type::message_type;
use crate::messages::page::PageLimit;
use crate::types::ids::{HostId, HostName};
use crate::types::labels::Labels;
use crate::types::text::Text;
use crate::types::text::bounded;
use crate::types::timestamp::Timestamp;

/// Whether heartbeats arrive from a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum HostStatus {
    /// No heartbeat has arrived yet.
    Enrolled,
    /// Heartbeats arrive.
    Online,
    /// No heartbeat has arrived for three intervals.
    Offline,
    /// The host was decommissioned.
    Decommissioned,
}

impl HostStatus {
    /// All statuses, in the order of their discriminants.
    pub const ALL: [Self; 4] = [
        Self::Enrolled,
        Self::Online,
        Self::Offline,
        Self::Decommissioned,
    ];
}

/// The record of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct HostRecord {
    /// The host.
    pub host_uuid: HostId,
    /// The name of the host.
    pub name: HostName,
    /// The address of the host, as an operator wrote it.
    #[cfg_attr(feature = "generate", schemars(length(max = 255)))]
    pub address: Option<String>,
    /// The labels of the host.
    pub labels: Labels,
    /// Whether heartbeats arrive from the host.
    pub status: HostStatus,
    /// When the last heartbeat arrived.
    pub last_heartbeat: Option<Timestamp>,
    /// The version of the agent.
    pub agent_version: Option<Text>,
    /// Why the agent could not read its inventory at the last heartbeat. The shards on record may
    /// then be outdated. Absent if the agent could read the inventory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inventory_error: Option<Text>,
    /// How many shards the host has on record.
    pub shards: usize,
    /// How many open operations the host has.
    pub open_operations: usize,
    /// When the host was enrolled.
    pub enrolled_at: Timestamp,
}

message_type!(
    /// The `type` of `HostsUpdated`.
    HostsUpdatedType = "scuttle.v1.hosts_updated"
);

/// Announces hosts that have changed. Without hosts, repeats the last revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct HostsUpdated {
    /// Always `scuttle.v1.hosts_updated`.
    #[serde(rename = "type")]
    pub kind: HostsUpdatedType,
    /// The revision: one more than in the previous message, or the same for a repeat.
    pub revision: u64,
    /// When the change was decided.
    pub at: Timestamp,
    /// The changed hosts, as complete records.
    pub updated: Vec<HostRecord>,
}

/// Requests one page of the hosts, sorted by `host_uuid`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct HostsListRequest {
    /// Lists only this host.
    #[serde(default)]
    pub host_uuid: Option<HostId>,
    /// The `next` of the previous page. Absent for the first page.
    #[serde(default)]
    pub after: Option<String>,
    /// The most records to return, 1 to 1000. Default: 500.
    #[serde(default)]
    pub limit: PageLimit,
}

/// One page of hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct HostsList {
    /// The last `hosts.updated` revision whose changes this page contains.
    pub revision: u64,
    /// The hosts.
    #[cfg_attr(feature = "generate", schemars(length(max = 1000)))]
    pub hosts: Vec<HostRecord>,
    /// The cursor for the next page, or null if this is the last page.
    pub next: Option<String>,
}

/// Requests to enroll a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct EnrollRequest {
    /// The name of the host. Unique among the hosts that are not decommissioned.
    pub name: HostName,
    /// The address of the host, for operators. At most 255 characters.
    #[serde(default, deserialize_with = "bounded::<_, 255>")]
    #[cfg_attr(feature = "generate", schemars(length(max = 255)))]
    pub address: Option<String>,
    /// The labels of the host.
    #[serde(default)]
    pub labels: Labels,
    /// The id of the host. The controller generates one if this field is absent.
    #[serde(default)]
    pub host_uuid: Option<HostId>,
}

/// The host is enrolled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct EnrollAccepted {
    /// Always true.
    #[cfg_attr(feature = "generate", schemars(extend("const" = true)))]
    pub accepted: bool,
    /// The host.
    pub host: HostRecord,
    /// Whether the host was already enrolled.
    pub repeated: bool,
}

/// Requests to decommission a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct DecommissionRequest {
    /// The host.
    pub host_uuid: HostId,
    /// Decommissions the host even if it has shards, and removes them from the record.
    #[serde(default)]
    pub force: bool,
}

/// The host is decommissioned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct DecommissionAccepted {
    /// Always true.
    #[cfg_attr(feature = "generate", schemars(extend("const" = true)))]
    pub accepted: bool,
    /// What was removed from the record, and what may still be running on the host.
    pub detail: String,
    /// The host.
    pub host: HostRecord,
}
