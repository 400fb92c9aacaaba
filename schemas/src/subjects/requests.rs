//! The subjects of requests from clients, and of service discovery.

/// The name of the controller's NATS Micro service (ADR-32).
pub const SERVICE_NAME: &str = "scuttle";

/// Requests the teardown of a host or of one decky.
pub const TEARDOWN: &str = "swarm.teardown";
/// Requests to cancel a queued operation.
pub const OPERATIONS_CANCEL: &str = "swarm.operations.cancel";
/// Requests one page of the operations.
pub const OPERATIONS_LIST: &str = "swarm.operations.list";
/// Requests one operation with its shards.
pub const OPERATIONS_GET: &str = "swarm.operations.get";
/// Requests to enroll a host.
pub const HOSTS_ENROLL: &str = "swarm.hosts.enroll";
/// Requests to decommission a host.
pub const HOSTS_DECOMMISSION: &str = "swarm.hosts.decommission";
/// Requests one page of the hosts.
pub const HOSTS_LIST: &str = "swarm.hosts.list";
/// Requests one page of the shards.
pub const SHARDS_LIST: &str = "swarm.shards.list";

/// The requests that change something. Only operators may send them.
pub const CHANGE_REQUESTS: [&str; 4] = [
    TEARDOWN,
    OPERATIONS_CANCEL,
    HOSTS_ENROLL,
    HOSTS_DECOMMISSION,
];
/// The requests that only read. Operators and viewers may send them.
pub const READ_REQUESTS: [&str; 4] = [SHARDS_LIST, HOSTS_LIST, OPERATIONS_LIST, OPERATIONS_GET];
/// Every request subject, for the permissions of the controller.
pub const ALL_REQUESTS: &str = "swarm.>";
/// Every subject of service discovery (ADR-32).
pub const SERVICE_DISCOVERY: &str = "$SRV.>";
