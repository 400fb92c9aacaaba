//! The endpoints of the Micro service and the subject of each. Their requests are decoded in
//! `decode`.

use scuttle_schemas::subjects::{self, AgentChannel};

/// A request subject of the controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// `swarm.teardown`.
    Teardown,
    /// `swarm.operations.cancel`.
    OperationsCancel,
    /// `swarm.operations.list`.
    OperationsList,
    /// `swarm.operations.get`.
    OperationsGet,
    /// `swarm.hosts.enroll`.
    HostsEnroll,
    /// `swarm.hosts.decommission`.
    HostsDecommission,
    /// `swarm.hosts.list`.
    HostsList,
    /// `swarm.shards.list`.
    ShardsList,
    /// `agent.<host_uuid>.heartbeat`.
    AgentHeartbeat,
    /// `agent.<host_uuid>.results`.
    AgentResults,
}

impl Endpoint {
    /// All endpoints, in the order of their counters.
    pub const ALL: [Self; 10] = [
        Self::Teardown,
        Self::OperationsCancel,
        Self::OperationsList,
        Self::OperationsGet,
        Self::HostsEnroll,
        Self::HostsDecommission,
        Self::HostsList,
        Self::ShardsList,
        Self::AgentHeartbeat,
        Self::AgentResults,
    ];

    /// Returns the name in `$SRV.INFO` and `$SRV.STATS`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Teardown => "teardown",
            Self::OperationsCancel => "operations-cancel",
            Self::OperationsList => "operations-list",
            Self::OperationsGet => "operations-get",
            Self::HostsEnroll => "hosts-enroll",
            Self::HostsDecommission => "hosts-decommission",
            Self::HostsList => "hosts-list",
            Self::ShardsList => "shards-list",
            Self::AgentHeartbeat => "agent-heartbeat",
            Self::AgentResults => "agent-results",
        }
    }

    /// Returns the channel on which agents send the requests, or `None` if other clients send them.
    pub fn channel(self) -> Option<AgentChannel> {
        match self {
            Self::AgentHeartbeat => Some(AgentChannel::Heartbeat),
            Self::AgentResults => Some(AgentChannel::Results),
            Self::Teardown
            | Self::OperationsCancel
            | Self::OperationsList
            | Self::OperationsGet
            | Self::HostsEnroll
            | Self::HostsDecommission
            | Self::HostsList
            | Self::ShardsList => None,
        }
    }

    /// Returns whether the requests change something. Such requests go to the audit log.
    pub fn is_change(self) -> bool {
        match self {
            Self::Teardown
            | Self::OperationsCancel
            | Self::HostsEnroll
            | Self::HostsDecommission => true,
            Self::OperationsList
            | Self::OperationsGet
            | Self::HostsList
            | Self::ShardsList
            | Self::AgentHeartbeat
            | Self::AgentResults => false,
        }
    }

    /// Returns whether the requests only read.
    pub fn is_read(self) -> bool {
        !self.is_change() && self.channel().is_none()
    }

    /// Returns the subject to subscribe to.
    pub fn subject(self) -> String {
        match self {
            Self::Teardown => subjects::TEARDOWN.to_owned(),
            Self::OperationsCancel => subjects::OPERATIONS_CANCEL.to_owned(),
            Self::OperationsList => subjects::OPERATIONS_LIST.to_owned(),
            Self::OperationsGet => subjects::OPERATIONS_GET.to_owned(),
            Self::HostsEnroll => subjects::HOSTS_ENROLL.to_owned(),
            Self::HostsDecommission => subjects::HOSTS_DECOMMISSION.to_owned(),
            Self::HostsList => subjects::HOSTS_LIST.to_owned(),
            Self::ShardsList => subjects::SHARDS_LIST.to_owned(),
            Self::AgentHeartbeat => AgentChannel::Heartbeat.wildcard_subject(),
            Self::AgentResults => AgentChannel::Results.wildcard_subject(),
        }
    }
}
