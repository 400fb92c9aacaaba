//! The endpoints of the controller's NATS service and their subjects. Requests are decoded in
//! `decode`.

use scuttle_schemas::subjects::{self, AgentChannel};

/// An endpoint of the controller's NATS service, which takes the requests or reports on one
/// subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// Requests on `swarm.teardown` to tear down a decky or a whole host.
    Teardown,
    /// The same requests on `swarm.teardown.<host_uuid>`, for the host that the subject names.
    TeardownHost,
    /// Requests on `swarm.operations.cancel` to cancel an operation.
    OperationsCancel,
    /// Requests on `swarm.operations.list` for a list of operations.
    OperationsList,
    /// Requests on `swarm.operations.get` for a single operation.
    OperationsGet,
    /// Requests on `swarm.hosts.enroll` to enroll a host.
    HostsEnroll,
    /// Requests on `swarm.hosts.update` to change a host.
    HostsUpdate,
    /// Requests on `swarm.hosts.decommission` to decommission a host.
    HostsDecommission,
    /// Requests on `swarm.hosts.list` for a list of hosts.
    HostsList,
    /// Requests on `swarm.shards.list` for a list of shards.
    ShardsList,
    /// Requests on `swarm.shards.protect` to protect a decky or a host.
    ShardsProtect,
    /// Heartbeats of agents on `agent.<host_uuid>.heartbeat`.
    AgentHeartbeat,
    /// Results of operations on `agent.<host_uuid>.results`.
    AgentResults,
}

impl Endpoint {
    /// All endpoints, in the order in which their counts are listed.
    pub const ALL: [Self; 13] = [
        Self::Teardown,
        Self::TeardownHost,
        Self::OperationsCancel,
        Self::OperationsList,
        Self::OperationsGet,
        Self::HostsEnroll,
        Self::HostsUpdate,
        Self::HostsDecommission,
        Self::HostsList,
        Self::ShardsList,
        Self::ShardsProtect,
        Self::AgentHeartbeat,
        Self::AgentResults,
    ];

    /// Returns the name of the endpoint in `$SRV.INFO` and `$SRV.STATS`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Teardown => "teardown",
            Self::TeardownHost => "teardown-host",
            Self::OperationsCancel => "operations-cancel",
            Self::OperationsList => "operations-list",
            Self::OperationsGet => "operations-get",
            Self::HostsEnroll => "hosts-enroll",
            Self::HostsUpdate => "hosts-update",
            Self::HostsDecommission => "hosts-decommission",
            Self::HostsList => "hosts-list",
            Self::ShardsList => "shards-list",
            Self::ShardsProtect => "shards-protect",
            Self::AgentHeartbeat => "agent-heartbeat",
            Self::AgentResults => "agent-results",
        }
    }

    /// Returns the name of the requested action in the audit log and in traces. Both subjects of
    /// teardowns stand for the same action.
    pub fn action(self) -> &'static str {
        match self {
            Self::TeardownHost => Self::Teardown.name(),
            endpoint => endpoint.name(),
        }
    }

    /// Returns the channel on which agents send the endpoint's reports, or `None` if the endpoint
    /// takes requests from clients.
    pub fn channel(self) -> Option<AgentChannel> {
        match self {
            Self::AgentHeartbeat => Some(AgentChannel::Heartbeat),
            Self::AgentResults => Some(AgentChannel::Results),
            Self::Teardown
            | Self::TeardownHost
            | Self::OperationsCancel
            | Self::OperationsList
            | Self::OperationsGet
            | Self::HostsEnroll
            | Self::HostsUpdate
            | Self::HostsDecommission
            | Self::HostsList
            | Self::ShardsList
            | Self::ShardsProtect => None,
        }
    }

    /// Returns whether the endpoint takes client requests to change something. These requests go to
    /// the audit log, except for dry runs.
    pub fn is_change(self) -> bool {
        match self {
            Self::Teardown
            | Self::TeardownHost
            | Self::OperationsCancel
            | Self::HostsEnroll
            | Self::HostsUpdate
            | Self::HostsDecommission
            | Self::ShardsProtect => true,
            Self::OperationsList
            | Self::OperationsGet
            | Self::HostsList
            | Self::ShardsList
            | Self::AgentHeartbeat
            | Self::AgentResults => false,
        }
    }

    /// Returns whether the endpoint takes client requests that only read.
    pub fn is_read(self) -> bool {
        !self.is_change() && self.channel().is_none()
    }

    /// Returns the subject to subscribe to. A wildcard takes the place of a host in the subject.
    pub fn subject(self) -> String {
        match self {
            Self::Teardown => subjects::TEARDOWN.to_owned(),
            Self::TeardownHost => subjects::HOST_TEARDOWNS.to_owned(),
            Self::OperationsCancel => subjects::OPERATIONS_CANCEL.to_owned(),
            Self::OperationsList => subjects::OPERATIONS_LIST.to_owned(),
            Self::OperationsGet => subjects::OPERATIONS_GET.to_owned(),
            Self::HostsEnroll => subjects::HOSTS_ENROLL.to_owned(),
            Self::HostsUpdate => subjects::HOSTS_UPDATE.to_owned(),
            Self::HostsDecommission => subjects::HOSTS_DECOMMISSION.to_owned(),
            Self::HostsList => subjects::HOSTS_LIST.to_owned(),
            Self::ShardsList => subjects::SHARDS_LIST.to_owned(),
            Self::ShardsProtect => subjects::SHARDS_PROTECT.to_owned(),
            Self::AgentHeartbeat => AgentChannel::Heartbeat.wildcard_subject(),
            Self::AgentResults => AgentChannel::Results.wildcard_subject(),
        }
    }
}
