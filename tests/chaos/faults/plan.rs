//! The plan of faults, which depends only on the seed. `fault_injector` carries it out.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use scuttle_schemas::{Partition, PartitionCount};
use scuttle_tests::faults::proxy::NetworkConditions;

use crate::cluster::scale::{CLUSTER, GROUPS};
use crate::cluster::targets::{Program, Route};

/// The mean time between two faults. It is longer in a cluster, where a fault of the leader affects
/// every client.
const MEAN_INTERVAL_MS: u64 = 650;
const CLUSTER_MEAN_INTERVAL_MS: u64 = 1_000;

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// SIGKILL, then a restart on the same files after this time.
    Kill(Program, Duration),
    /// SIGKILL, then a restart on an empty data directory after this time.
    KillAndEraseData(Program, Duration),
    /// SIGSTOP, then SIGCONT after this time.
    Stop(Program, Duration),
    /// Closes the route's connections. New connections are possible at once.
    Disconnect(Route),
    /// Slows down or stalls the route for this time.
    Degrade(Route, NetworkConditions, Duration),
    /// Closes the route's connections, and refuses new ones for this time.
    Partition(Route, Duration),
    /// Fills the small disk of a server for this time.
    FullDisk(Duration),
}

/// A fault, and when it occurs after the start of the run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Planned {
    pub(crate) at: Duration,
    pub(crate) fault: Fault,
}

/// Plans all faults of a run. `cluster` is the partition count of a cluster, or `None` for a single
/// server.
pub(crate) fn plan_faults(
    seed: u64,
    length: Duration,
    cluster: Option<PartitionCount>,
) -> Vec<Planned> {
    let mean = match cluster {
        Some(_) => CLUSTER_MEAN_INTERVAL_MS,
        None => MEAN_INTERVAL_MS,
    };
    let mut rng = StdRng::seed_from_u64(seed);
    let mut at = Duration::ZERO;
    let mut planned = Vec::new();
    loop {
        at += Duration::from_millis(rng.random_range(50..2 * mean - 50));
        let fault = match cluster {
            Some(partitions) => pick_cluster_fault(&mut rng, partitions),
            None => pick_fault(&mut rng),
        };
        if at >= length {
            return planned;
        }
        planned.push(Planned { at, fault });
    }
}

/// Picks a fault for a single server.
///
/// The weights leave the system enough time between two faults of a kind to make progress: faults
/// of the server and the controller affect every client and are rare, those of a group of hosts are
/// not.
fn pick_fault(rng: &mut StdRng) -> Fault {
    match rng.random_range(0..100) {
        0..6 => Fault::Kill(Program::Controller(0), pick_millis(rng, 300, 3_000)),
        6..10 => Fault::Stop(Program::Controller(0), pick_millis(rng, 500, 5_000)),
        10..13 => Fault::Kill(Program::Nats(0), pick_millis(rng, 300, 2_500)),
        13..16 => Fault::Stop(Program::Nats(0), pick_millis(rng, 500, 4_000)),
        16..32 => Fault::Kill(pick_group(rng), pick_millis(rng, 300, 6_000)),
        32..43 => Fault::Stop(pick_group(rng), pick_millis(rng, 500, 8_000)),
        43..57 => Fault::Disconnect(pick_route(rng)),
        57..75 => Fault::Degrade(
            pick_route(rng),
            pick_delays(rng),
            pick_millis(rng, 1_000, 10_000),
        ),
        75..85 => Fault::Degrade(pick_route(rng), STALLED, pick_millis(rng, 500, 6_000)),
        _ => Fault::Partition(pick_route(rng), pick_millis(rng, 500, 8_000)),
    }
}

/// Picks a fault for a cluster. A stopped or disconnected leader is mostly away for longer than its
/// lease.
fn pick_cluster_fault(rng: &mut StdRng, partitions: PartitionCount) -> Fault {
    match rng.random_range(0..100) {
        0..6 => Fault::Kill(
            Program::Leader(pick_partition(rng, partitions)),
            pick_millis(rng, 300, 3_000),
        ),
        6 => Fault::Kill(pick_controller(rng), pick_millis(rng, 300, 3_000)),
        7 => Fault::KillAndEraseData(pick_controller(rng), pick_millis(rng, 300, 3_000)),
        8..11 => Fault::Stop(
            Program::Leader(pick_partition(rng, partitions)),
            pick_millis(rng, 2_500, 7_000),
        ),
        11..13 => Fault::Stop(pick_controller(rng), pick_millis(rng, 500, 6_000)),
        13..15 => Fault::Kill(pick_server(rng), pick_millis(rng, 300, 2_500)),
        15 => Fault::Kill(
            Program::NatsOfStream(pick_partition(rng, partitions)),
            pick_millis(rng, 300, 2_500),
        ),
        16 => Fault::Stop(pick_server(rng), pick_millis(rng, 500, 4_000)),
        17 => Fault::Stop(
            Program::NatsOfStream(pick_partition(rng, partitions)),
            pick_millis(rng, 2_500, 6_000),
        ),
        18 => Fault::FullDisk(pick_millis(rng, 1_500, 4_000)),
        19..22 => Fault::Partition(
            Route::Leader(pick_partition(rng, partitions)),
            pick_millis(rng, 2_500, 8_000),
        ),
        22..24 => Fault::Degrade(
            Route::Leader(pick_partition(rng, partitions)),
            STALLED,
            pick_millis(rng, 2_500, 7_000),
        ),
        24..37 => Fault::Kill(pick_group(rng), pick_millis(rng, 300, 6_000)),
        37..46 => Fault::Stop(pick_group(rng), pick_millis(rng, 500, 8_000)),
        46..58 => Fault::Disconnect(pick_cluster_route(rng)),
        58..76 => Fault::Degrade(
            pick_cluster_route(rng),
            pick_delays(rng),
            pick_millis(rng, 1_000, 10_000),
        ),
        76..86 => Fault::Degrade(
            pick_cluster_route(rng),
            STALLED,
            pick_millis(rng, 500, 6_000),
        ),
        _ => Fault::Partition(pick_cluster_route(rng), pick_millis(rng, 500, 8_000)),
    }
}

const STALLED: NetworkConditions = NetworkConditions {
    latency_to_server: Duration::ZERO,
    latency_from_server: Duration::ZERO,
    jitter: Duration::ZERO,
    stalled: true,
    refused: false,
};

fn pick_delays(rng: &mut StdRng) -> NetworkConditions {
    let mut latency = || Duration::from_millis(rng.random_range(0..=250));
    NetworkConditions {
        latency_to_server: latency(),
        latency_from_server: latency(),
        jitter: latency(),
        ..NetworkConditions::default()
    }
}

fn pick_millis(rng: &mut StdRng, from: u64, to: u64) -> Duration {
    Duration::from_millis(rng.random_range(from..=to))
}

/// Picks the first partition in half of the cases, because all others depend on its relay. Draws no
/// random number if there is only one partition.
fn pick_partition(rng: &mut StdRng, partitions: PartitionCount) -> Partition {
    if partitions == PartitionCount::ONE || rng.random_bool(0.5) {
        return Partition::FIRST;
    }
    let other = rng.random_range(1..partitions.count());
    partitions.iter().nth(other).unwrap_or(Partition::FIRST)
}

fn pick_server(rng: &mut StdRng) -> Program {
    Program::Nats(rng.random_range(0..CLUSTER.servers))
}

fn pick_controller(rng: &mut StdRng) -> Program {
    Program::Controller(rng.random_range(0..CLUSTER.controllers))
}

fn pick_group(rng: &mut StdRng) -> Program {
    Program::Group(rng.random_range(0..GROUPS))
}

fn pick_route(rng: &mut StdRng) -> Route {
    match rng.random_range(0..GROUPS + 5) {
        0 | 1 => Route::Controller(0),
        2 | 3 => Route::Operators,
        4 => Route::Viewer,
        number => Route::Group(number - 5),
    }
}

/// Like [`pick_route`], but with any of the cluster's controllers.
fn pick_cluster_route(rng: &mut StdRng) -> Route {
    match pick_route(rng) {
        Route::Controller(_) => Route::Controller(rng.random_range(0..CLUSTER.controllers)),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use scuttle_schemas::PartitionCount;

    use super::plan_faults;

    #[test]
    fn the_same_seed_plans_the_same_faults() {
        for cluster in [None, Some(PartitionCount::ONE), PartitionCount::new(2)] {
            let plan = |seed| format!("{:?}", plan_faults(seed, Duration::from_mins(1), cluster));
            assert_eq!(plan(7), plan(7));
            assert_ne!(plan(7), plan(8));
        }
    }
}
