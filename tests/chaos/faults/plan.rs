//! Plans the faults of a run. The same seed, duration and partition count always give the same
//! plan.
//!
//! `fault_injector` executes the plan.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use scuttle_schemas::{Partition, PartitionCount};
use scuttle_tests::faults::proxy::NetworkConditions;

use crate::cluster::scale::{CLUSTER, GROUPS};
use crate::cluster::targets::{Program, Route};

/// The mean time between two faults in a run with a single server, in milliseconds. In a cluster,
/// the mean time is [`CLUSTER_MEAN_INTERVAL_MS`].
const MEAN_INTERVAL_MS: u64 = 650;
const CLUSTER_MEAN_INTERVAL_MS: u64 = 1_000;

/// A fault with its target. The fault is undone after its duration, if it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// SIGKILL, and after this duration a restart with the same files.
    Kill(Program, Duration),
    /// SIGKILL, and after this duration a restart with an empty data directory.
    KillAndEraseData(Program, Duration),
    /// SIGSTOP, and after this duration SIGCONT.
    Stop(Program, Duration),
    /// The loss of all open connections of a route. New connections are possible immediately.
    Disconnect(Route),
    /// Slow or stalled connections on a route for this duration.
    Degrade(Route, NetworkConditions, Duration),
    /// The loss of all connections of a route. New connections are refused for this duration.
    Partition(Route, Duration),
    /// A full disk on the server with the small disk, for this duration.
    FullDisk(Duration),
}

/// A fault with its time, counted from the start of the faults.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Planned {
    pub(crate) at: Duration,
    pub(crate) fault: Fault,
}

/// Plans all faults of a run. `cluster` is the number of partitions in a cluster, or `None` for a
/// single server.
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

/// Picks a random fault for a run with a single server.
///
/// Faults of the server and the controller affect every client. They are rare, so that the system
/// can make progress between them. Faults of a group of hosts are frequent.
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

/// Picks a random fault for a cluster. A stop, stall or network partition that targets the leader
/// lasts longer than the leader's lease, so that another controller takes over.
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

/// Picks the first partition in half of the cases, because its leader relays the broadcasts of all
/// other partitions. Draws no random number if there is only one partition.
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

/// Picks a route as [`pick_route`] does, but with any of the cluster's controllers.
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
