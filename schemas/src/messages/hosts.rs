//! Hosts: the record, its broadcast, its list, enrolment and decommissioning.

use serde::{Deserialize, Serialize};

use crate::messages::message_type::message_type;
use crate::messages::page::PageLimit;
use crate::types::ids::{HostId, HostName};
use crate::types::labels::Labels;
use crate::types::text::Text;
use crate::types::text::bounded;
use crate::types::timestamp::Timestamp;

/// Whether a host's agent is heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum HostStatus {
    /// No heartbeat has come yet.
    Enrolled,
    /// Heartbeats come.
    Online,
    /// No heartbeat for three intervals.
    Offline,
    /// Taken out of the swarm.
    Decommissioned,
}

impl HostStatus {
    /// All of them, in their order.
    pub const ALL: [Self; 4] = [
        Self::Enrolled,
        Self::Online,
        Self::Offline,
        Self::Decommissioned,
    ];
}

/// One worker host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct HostRecord {
    /// The host.
    pub host_uuid: HostId,
    /// Its name.
    pub name: HostName,
    /// Where it is, in the operator's words.
    #[cfg_attr(feature = "generate", schemars(length(max = 255)))]
    pub address: Option<String>,
    /// Its labels.
    pub labels: Labels,
    /// Whether its agent is heard.
    pub status: HostStatus,
    /// When its agent was last heard.
    pub last_heartbeat: Option<Timestamp>,
    /// Its agent's version.
    pub agent_version: Option<Text>,
    /// Why its agent cannot tell what runs there, which the record is then no newer than; absent: it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inventory_error: Option<Text>,
    /// How many shards the record has of it.
    pub shards: usize,
    /// How many of its operations are open.
    pub open_operations: usize,
    /// When it was enrolled.
    pub enrolled_at: Timestamp,
}

message_type!(
    /// `type` of `HostsUpdated`.
    HostsUpdatedType = "scuttle.v1.hosts_updated"
);

/// Broadcast: hosts that changed; empty: this is the last revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct HostsUpdated {
    /// Always `scuttle.v1.hosts_updated`.
    #[serde(rename = "type")]
    pub kind: HostsUpdatedType,
    /// One more than the last message's.
    pub revision: u64,
    /// When it was decided.
    pub at: Timestamp,
    /// Whole records.
    pub updated: Vec<HostRecord>,
}

/// Pages through the hosts in the order of `host_uuid`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct HostsListRequest {
    /// This host alone.
    #[serde(default)]
    pub host_uuid: Option<HostId>,
    /// Where the last page ended: its `next`.
    #[serde(default)]
    pub after: Option<String>,
    /// 1 to 1000, 500 if absent.
    #[serde(default)]
    pub limit: PageLimit,
}

/// One page of hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct HostsList {
    /// The last `hosts.updated` revision that this page contains.
    pub revision: u64,
    /// The records.
    #[cfg_attr(feature = "generate", schemars(length(max = 1000)))]
    pub hosts: Vec<HostRecord>,
    /// Where the next page starts; null: this was the last.
    pub next: Option<String>,
}

/// Adds a host to the swarm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct EnrollRequest {
    /// Its name, unique among living hosts.
    pub name: HostName,
    /// Where it is, in the operator's words; at most 255 characters.
    #[serde(default, deserialize_with = "bounded::<_, 255>")]
    #[cfg_attr(feature = "generate", schemars(length(max = 255)))]
    pub address: Option<String>,
    /// Its labels.
    #[serde(default)]
    pub labels: Labels,
    /// Its id; the controller makes one when it is absent.
    #[serde(default)]
    pub host_uuid: Option<HostId>,
}

/// The host is in the swarm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct EnrollAccepted {
    /// Always true.
    #[cfg_attr(feature = "generate", schemars(extend("const" = true)))]
    pub accepted: bool,
    /// The host.
    pub host: HostRecord,
    /// True when it was in the swarm already.
    pub repeated: bool,
}

/// Takes a host out of the swarm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct DecommissionRequest {
    /// The host.
    pub host_uuid: HostId,
    /// Even while shards remain.
    #[serde(default)]
    pub force: bool,
}

/// The host is out of the swarm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct DecommissionAccepted {
    /// Always true.
    #[cfg_attr(feature = "generate", schemars(extend("const" = true)))]
    pub accepted: bool,
    /// What may remain there.
    pub detail: String,
    /// The host.
    pub host: HostRecord,
}
