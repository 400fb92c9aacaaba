//! What goes wrong, and when: a list that follows from the seed alone. Who makes it so is in `trouble`.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use scuttle_schemas::{Partition, PartitionCount};

use crate::stage::{CLUSTER, GROUPS};
use scuttle_tests::faults::proxy::NetworkConditions;

/// Between two faults, on average; a cluster needs longer, because whoever leads is everybody's.
const MEAN_GAP_MS: u64 = 650;
const MEAN_GAP_OF_CLUSTER_MS: u64 = 1_000;

/// A program that can be killed and stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Actor {
    /// A nats-server.
    Nats(usize),
    /// The one that then leads the stream of this partition's journal.
    NatsOfStream(Partition),
    /// A controller.
    Controller(usize),
    /// The one that then leads this partition.
    Leader(Partition),
    /// One process of simulated hosts.
    Group(usize),
}

/// A way through a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Road {
    /// A controller's.
    Controller(usize),
    /// Of the controller that then leads this partition.
    Leader(Partition),
    /// The operators'.
    Operators,
    /// That of the viewer who keeps a view.
    Viewer,
    /// One process of simulated hosts.
    Group(usize),
}

/// One thing that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// SIGKILL, and a start on the same files after a pause.
    Kill(Actor, Duration),
    /// SIGKILL, and a start on an empty data directory after a pause.
    Lose(Actor, Duration),
    /// SIGSTOP, and SIGCONT after a pause.
    Stop(Actor, Duration),
    /// Its connections end.
    Cut(Road),
    /// Another weather for a time.
    Weather(Road, NetworkConditions, Duration),
    /// Its connections end, and are refused for a time.
    Partition(Road, Duration),
    /// A server has no room on its disk for a time.
    FullDisk(Duration),
}

/// A fault and its time after the beginning.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Planned {
    pub(crate) at: Duration,
    pub(crate) fault: Fault,
}

/// All faults of a run, on one server, or on a cluster whose hosts are divided over so many partitions.
pub(crate) fn plan(seed: u64, length: Duration, cluster: Option<PartitionCount>) -> Vec<Planned> {
    let mean = match cluster {
        Some(_) => MEAN_GAP_OF_CLUSTER_MS,
        None => MEAN_GAP_MS,
    };
    let mut dice = StdRng::seed_from_u64(seed);
    let mut at = Duration::ZERO;
    let mut planned = Vec::new();
    loop {
        at += Duration::from_millis(dice.random_range(50..2 * mean - 50));
        let fault = match cluster {
            Some(of) => fault_of_cluster(&mut dice, of),
            None => fault(&mut dice),
        };
        if at >= length {
            return planned;
        }
        planned.push(Planned { at, fault });
    }
}

/// The weights are chosen so that each kind comes about as often as the system needs to get something done between two
/// of them: the server and the controller are everybody's, a group of hosts is one of many.
fn fault(dice: &mut StdRng) -> Fault {
    match dice.random_range(0..100) {
        0..6 => Fault::Kill(Actor::Controller(0), millis(dice, 300, 3_000)),
        6..10 => Fault::Stop(Actor::Controller(0), millis(dice, 500, 5_000)),
        10..13 => Fault::Kill(Actor::Nats(0), millis(dice, 300, 2_500)),
        13..16 => Fault::Stop(Actor::Nats(0), millis(dice, 500, 4_000)),
        16..32 => Fault::Kill(group(dice), millis(dice, 300, 6_000)),
        32..43 => Fault::Stop(group(dice), millis(dice, 500, 8_000)),
        43..57 => Fault::Cut(road(dice)),
        57..75 => Fault::Weather(road(dice), slow(dice), millis(dice, 1_000, 10_000)),
        75..85 => Fault::Weather(road(dice), STALLED, millis(dice, 500, 6_000)),
        _ => Fault::Partition(road(dice), millis(dice, 500, 8_000)),
    }
}

/// The same for a cluster: whoever leads is missed for longer than its lease, mostly.
fn fault_of_cluster(dice: &mut StdRng, of: PartitionCount) -> Fault {
    match dice.random_range(0..100) {
        0..6 => Fault::Kill(Actor::Leader(partition(dice, of)), millis(dice, 300, 3_000)),
        6 => Fault::Kill(controller(dice), millis(dice, 300, 3_000)),
        7 => Fault::Lose(controller(dice), millis(dice, 300, 3_000)),
        8..11 => Fault::Stop(
            Actor::Leader(partition(dice, of)),
            millis(dice, 2_500, 7_000),
        ),
        11..13 => Fault::Stop(controller(dice), millis(dice, 500, 6_000)),
        13..15 => Fault::Kill(server(dice), millis(dice, 300, 2_500)),
        15 => Fault::Kill(
            Actor::NatsOfStream(partition(dice, of)),
            millis(dice, 300, 2_500),
        ),
        16 => Fault::Stop(server(dice), millis(dice, 500, 4_000)),
        17 => Fault::Stop(
            Actor::NatsOfStream(partition(dice, of)),
            millis(dice, 2_500, 6_000),
        ),
        18 => Fault::FullDisk(millis(dice, 1_500, 4_000)),
        19..22 => Fault::Partition(
            Road::Leader(partition(dice, of)),
            millis(dice, 2_500, 8_000),
        ),
        22..24 => Fault::Weather(
            Road::Leader(partition(dice, of)),
            STALLED,
            millis(dice, 2_500, 7_000),
        ),
        24..37 => Fault::Kill(group(dice), millis(dice, 300, 6_000)),
        37..46 => Fault::Stop(group(dice), millis(dice, 500, 8_000)),
        46..58 => Fault::Cut(road_of_cluster(dice)),
        58..76 => Fault::Weather(
            road_of_cluster(dice),
            slow(dice),
            millis(dice, 1_000, 10_000),
        ),
        76..86 => Fault::Weather(road_of_cluster(dice), STALLED, millis(dice, 500, 6_000)),
        _ => Fault::Partition(road_of_cluster(dice), millis(dice, 500, 8_000)),
    }
}

const STALLED: NetworkConditions = NetworkConditions {
    latency_to_server: Duration::ZERO,
    latency_from_server: Duration::ZERO,
    jitter: Duration::ZERO,
    stalled: true,
    refused: false,
};

fn slow(dice: &mut StdRng) -> NetworkConditions {
    let mut latency = || Duration::from_millis(dice.random_range(0..=250));
    NetworkConditions {
        latency_to_server: latency(),
        latency_from_server: latency(),
        jitter: latency(),
        ..NetworkConditions::default()
    }
}

fn millis(dice: &mut StdRng, from: u64, to: u64) -> Duration {
    Duration::from_millis(dice.random_range(from..=to))
}

/// The first in half of the cases, which all others need; and no dice where there is no other.
fn partition(dice: &mut StdRng, of: PartitionCount) -> Partition {
    if of == PartitionCount::ONE || dice.random_bool(0.5) {
        return Partition::FIRST;
    }
    let other = dice.random_range(1..of.count());
    of.iter().nth(other).unwrap_or(Partition::FIRST)
}

fn server(dice: &mut StdRng) -> Actor {
    Actor::Nats(dice.random_range(0..CLUSTER.servers))
}

fn controller(dice: &mut StdRng) -> Actor {
    Actor::Controller(dice.random_range(0..CLUSTER.controllers))
}

fn group(dice: &mut StdRng) -> Actor {
    Actor::Group(dice.random_range(0..GROUPS))
}

fn road(dice: &mut StdRng) -> Road {
    match dice.random_range(0..GROUPS + 5) {
        0 | 1 => Road::Controller(0),
        2 | 3 => Road::Operators,
        4 => Road::Viewer,
        more => Road::Group(more - 5),
    }
}

/// One of the controllers' in place of the only one's.
fn road_of_cluster(dice: &mut StdRng) -> Road {
    match road(dice) {
        Road::Controller(_) => Road::Controller(dice.random_range(0..CLUSTER.controllers)),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use scuttle_schemas::PartitionCount;

    use super::plan;

    #[test]
    fn the_same_seed_plans_the_same_faults() {
        for cluster in [None, Some(PartitionCount::ONE), PartitionCount::new(2)] {
            let plan = |seed| format!("{:?}", plan(seed, Duration::from_mins(1), cluster));
            assert_eq!(plan(7), plan(7));
            assert_ne!(plan(7), plan(8));
        }
    }
}
