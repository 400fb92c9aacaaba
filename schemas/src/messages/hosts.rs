//! Hosts: the record, the broadcast, and the requests to list, enroll, update and decommission.

use serde::{Deserialize, Serialize};

use crate::messages::message_type::message_type;
use crate::messages::page::PageLimit;
use crate::types::decode::{is_false, present};
use crate::types::ids::{HostId, HostName};
use crate::types::labels::Labels;
use crate::types::text::{Note, Text, bounded};
use crate::types::timestamp::Timestamp;

/// The status of a host, which depends on its heartbeats and on whether it was decommissioned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum HostStatus {
    /// The host was enrolled, but no heartbeat has arrived yet.
    Enrolled,
    /// Heartbeats arrive from the host's agent.
    Online,
    /// No heartbeat has arrived for three heartbeat intervals.
    Offline,
    /// An operator has removed the host from the swarm.
    Decommissioned,
}

impl HostStatus {
    /// All statuses, sorted by discriminant.
    pub const ALL: [Self; 4] = [
        Self::Enrolled,
        Self::Online,
        Self::Offline,
        Self::Decommissioned,
    ];
}

/// The record of a host, as lists and broadcasts contain it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct HostRecord {
    /// The id of the host, which never changes.
    pub host_uuid: HostId,
    /// The name of the host, unique among the hosts that are not decommissioned.
    pub name: HostName,
    /// The address of the host, as an operator entered it.
    #[cfg_attr(feature = "generate", schemars(length(max = 255)))]
    pub address: Option<String>,
    /// The labels of the host, as an operator entered them.
    pub labels: Labels,
    /// The status of the host: enrolled, online, offline or decommissioned.
    pub status: HostStatus,
    /// The time at which the last heartbeat arrived, or null before the first one.
    pub last_heartbeat: Option<Timestamp>,
    /// The version that the agent last reported, or null before the first heartbeat.
    pub agent_version: Option<Text>,
    /// The reason why the agent could not read its inventory at the last heartbeat. The recorded
    /// shards may then be outdated. Absent if the agent could read the inventory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inventory_error: Option<Text>,
    /// Notes from the last heartbeat about objects that the agent could not attribute to a decky or
    /// had to leave on the host. Absent if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "generate", schemars(length(max = crate::messages::agents::MAX_NOTES)))]
    pub notes: Vec<Note>,
    /// Whether a request protects the host, and with it all its deckies, from teardowns.
    #[serde(default)]
    pub protected: bool,
    /// The number of the host's shards in the record.
    pub shards: usize,
    /// The number of the host's open operations.
    pub open_operations: usize,
    /// The time at which the host was enrolled.
    pub enrolled_at: Timestamp,
}

message_type!(
    /// The value of the `type` field of a [`HostsUpdated`].
    HostsUpdatedType = "scuttle.v1.hosts_updated"
);

/// A broadcast that announces changed hosts. Without hosts, the broadcast repeats the last
/// revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct HostsUpdated {
    /// Always `scuttle.v1.hosts_updated`.
    #[serde(rename = "type")]
    pub kind: HostsUpdatedType,
    /// The revision of this message: one more than in the previous message on the same subject, or
    /// the same number in a repeat.
    pub revision: u64,
    /// The time at which the changes were decided.
    pub at: Timestamp,
    /// The changed hosts, as complete records.
    pub updated: Vec<HostRecord>,
}

/// A request for one page of the hosts, sorted by `host_uuid`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct HostsListRequest {
    /// The id of the only host to list. Absent or null for all hosts.
    #[serde(default)]
    pub host_uuid: Option<HostId>,
    /// The `next` in the reply with the previous page. Absent for the first page.
    #[serde(default)]
    pub after: Option<String>,
    /// The maximum number of hosts to return, 1 to 1000. Default: 500.
    #[serde(default)]
    pub limit: PageLimit,
}

/// The reply to a request for one page of the hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct HostsList {
    /// The last `hosts.updated` revision whose changes this page contains.
    pub revision: u64,
    /// The hosts on this page, sorted by `host_uuid`.
    #[cfg_attr(feature = "generate", schemars(length(max = 1000)))]
    pub hosts: Vec<HostRecord>,
    /// The cursor for the next page, or null if this is the last page.
    pub next: Option<String>,
}

/// A request to enroll a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct EnrollRequest {
    /// The name of the host. Must differ, in more than case, from the names and ids of all other
    /// hosts that are not decommissioned.
    pub name: HostName,
    /// The address of the host, for operators. At most 255 characters.
    #[serde(default, deserialize_with = "bounded::<_, 255>")]
    #[cfg_attr(feature = "generate", schemars(length(max = 255)))]
    pub address: Option<String>,
    /// The labels of the host, as pairs of key and value. If the field is absent, a new host gets
    /// no labels, and a host that is already enrolled keeps the labels in its record.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "generate", schemars(with = "Labels"))]
    pub labels: Option<Labels>,
    /// The id of the host. The controller generates one if this field is absent. Must differ, in
    /// more than case, from the names and ids of all other hosts that are not decommissioned.
    #[serde(default)]
    pub host_uuid: Option<HostId>,
}

/// The reply to an accepted request to enroll a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct EnrollAccepted {
    /// Always true. A rejected request gets an error reply instead.
    #[cfg_attr(feature = "generate", schemars(extend("const" = true)))]
    pub accepted: bool,
    /// The record of the enrolled host.
    pub host: HostRecord,
    /// Whether the host was already enrolled before this request.
    pub repeated: bool,
}

/// A request to change the name, address or labels of a host, or to forget the last report of its
/// agent. A field that is absent or null changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct HostUpdateRequest {
    /// The id of the host to change.
    pub host_uuid: HostId,
    /// The new name of the host. Must differ, in more than case, from the names and ids of all
    /// other hosts that are not decommissioned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<HostName>,
    /// The new address of the host, for operators. At most 255 characters.
    #[serde(
        default,
        deserialize_with = "bounded::<_, 255>",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "generate", schemars(length(max = 255)))]
    pub address: Option<String>,
    /// The new labels of the host, which replace all its labels. Must not be null, because null
    /// could be mistaken for the removal of all labels.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "generate", schemars(with = "Labels"))]
    pub labels: Option<Labels>,
    /// Whether to forget the last report that was applied, so that a report with any `boot_id` is
    /// accepted next. Use it if the reports of the agent are ignored as stale. Default: false.
    #[serde(default, skip_serializing_if = "is_false")]
    pub reset_agent: bool,
}

/// The reply to an accepted request to change a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct HostUpdateAccepted {
    /// Always true. A rejected request gets an error reply instead.
    #[cfg_attr(feature = "generate", schemars(extend("const" = true)))]
    pub accepted: bool,
    /// The record of the host after the change.
    pub host: HostRecord,
}

/// A request to decommission a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct DecommissionRequest {
    /// The id of the host to decommission.
    pub host_uuid: HostId,
    /// Whether to decommission the host even if it has shards, which are then removed from the
    /// record. Default: false.
    #[serde(default)]
    pub force: bool,
}

/// The reply to an accepted request to decommission a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct DecommissionAccepted {
    /// Always true. A rejected request gets an error reply instead.
    #[cfg_attr(feature = "generate", schemars(extend("const" = true)))]
    pub accepted: bool,
    /// An explanation for people: what was removed from the record, and what might still be running
    /// on the host.
    pub detail: String,
    /// The record of the decommissioned host.
    pub host: HostRecord,
}
