//! The subjects of requests from clients.

/// The subject of requests to tear down one decky or a whole host.
pub const TEARDOWN: &str = "swarm.teardown";
/// The subject of requests to cancel a queued operation.
pub const OPERATIONS_CANCEL: &str = "swarm.operations.cancel";
/// The subject of requests for one page of the operations.
pub const OPERATIONS_LIST: &str = "swarm.operations.list";
/// The subject of requests for one operation with its shards.
pub const OPERATIONS_GET: &str = "swarm.operations.get";
/// The subject of requests to enroll a host.
pub const HOSTS_ENROLL: &str = "swarm.hosts.enroll";
/// The subject of requests to change the name, address or labels of a host, or to reset its agent.
pub const HOSTS_UPDATE: &str = "swarm.hosts.update";
/// The subject of requests to decommission a host.
pub const HOSTS_DECOMMISSION: &str = "swarm.hosts.decommission";
/// The subject of requests for one page of the hosts.
pub const HOSTS_LIST: &str = "swarm.hosts.list";
/// The subject of requests for one page of the shards.
pub const SHARDS_LIST: &str = "swarm.shards.list";

/// The subject of requests to protect a decky or a host from teardowns.
pub const SHARDS_PROTECT: &str = "swarm.shards.protect";

/// The subjects of requests that change something. Only operators may send these requests.
pub const CHANGE_REQUESTS: [&str; 6] = [
    TEARDOWN,
    OPERATIONS_CANCEL,
    HOSTS_ENROLL,
    HOSTS_UPDATE,
    HOSTS_DECOMMISSION,
    SHARDS_PROTECT,
];
/// The subjects of requests that only read. Operators and viewers may send these requests.
pub const READ_REQUESTS: [&str; 4] = [SHARDS_LIST, HOSTS_LIST, OPERATIONS_LIST, OPERATIONS_GET];
/// The wildcard subject of all requests, for the permissions of the controller.
pub const ALL_REQUESTS: &str = "swarm.>";
