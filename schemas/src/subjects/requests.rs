//! Every NATS subject of Scuttle. Nobody else writes one.

/// The name of the controller's NATS Micro service (ADR-32).
pub const SERVICE_NAME: &str = "scuttle";

/// Teardown of a host or of one decky.
pub const TEARDOWN: &str = "swarm.teardown";
/// Withdraws a queued operation.
pub const OPERATIONS_CANCEL: &str = "swarm.operations.cancel";
/// Pages through operations.
pub const OPERATIONS_LIST: &str = "swarm.operations.list";
/// One operation, whole.
pub const OPERATIONS_GET: &str = "swarm.operations.get";
/// Adds a host to the swarm.
pub const HOSTS_ENROLL: &str = "swarm.hosts.enroll";
/// Takes a host out of the swarm.
pub const HOSTS_DECOMMISSION: &str = "swarm.hosts.decommission";
/// Pages through hosts.
pub const HOSTS_LIST: &str = "swarm.hosts.list";
/// Pages through shards.
pub const SHARDS_LIST: &str = "swarm.shards.list";

/// The requests that change something: operators' alone.
pub const CHANGE_REQUESTS: [&str; 4] = [
    TEARDOWN,
    OPERATIONS_CANCEL,
    HOSTS_ENROLL,
    HOSTS_DECOMMISSION,
];
/// The requests that only read.
pub const READ_REQUESTS: [&str; 4] = [SHARDS_LIST, HOSTS_LIST, OPERATIONS_LIST, OPERATIONS_GET];
/// Every request subject: to be granted to the one that answers.
pub const ALL_REQUESTS: &str = "swarm.>";
/// Discovery of services (ADR-32).
pub const SERVICE_DISCOVERY: &str = "$SRV.>";
