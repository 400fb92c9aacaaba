//! How large a chaos run is.

use scuttle_schemas::PartitionCount;
use scuttle_tests::servers::nats_cluster::SERVERS;

/// How many processes of simulated hosts.
pub(crate) const GROUPS: usize = 10;
/// How many deckies a host begins with.
pub(crate) const DECKIES: usize = 5;

/// How many of what there are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    pub(crate) servers: usize,
    pub(crate) controllers: usize,
    /// Over how many journals the controllers divide the hosts.
    pub(crate) partitions: PartitionCount,
    /// In each process.
    pub(crate) hosts: usize,
    pub(crate) heartbeat_ms: u64,
}

/// One server and one controller, which keeps its journal itself.
pub(crate) const SINGLE: Scale = Scale {
    servers: 1,
    controllers: 1,
    partitions: PartitionCount::ONE,
    hosts: 5,
    heartbeat_ms: 500,
};
/// Three servers, which keep the journal of three controllers.
pub(crate) const CLUSTER: Scale = Scale {
    servers: SERVERS,
    controllers: 3,
    partitions: PartitionCount::ONE,
    hosts: 20,
    heartbeat_ms: 1_000,
};
