//! The size of a chaos run: how many programs, hosts and deckies it has.

use scuttle_schemas::PartitionCount;
use scuttle_tests::servers::nats_cluster::SERVERS;

/// The number of processes that simulate hosts. The hosts of one process form a group.
pub(crate) const GROUPS: usize = 10;
/// The number of deckies on each host at the start.
pub(crate) const DECKIES: usize = 5;

/// The size of a run, and the interval of its heartbeats.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    pub(crate) servers: usize,
    pub(crate) controllers: usize,
    /// The number of partitions that the hosts are divided into.
    pub(crate) partitions: PartitionCount,
    /// The number of hosts in each group.
    pub(crate) hosts: usize,
    pub(crate) heartbeat_ms: u64,
}

/// The size of a run with one server, and one controller that stores its journal locally.
pub(crate) const SINGLE: Scale = Scale {
    servers: 1,
    controllers: 1,
    partitions: PartitionCount::ONE,
    hosts: 5,
    heartbeat_ms: 500,
};
/// The size of a run with three servers, which store the journal of three controllers.
pub(crate) const CLUSTER: Scale = Scale {
    servers: SERVERS,
    controllers: 3,
    partitions: PartitionCount::ONE,
    hosts: 20,
    heartbeat_ms: 1_000,
};
