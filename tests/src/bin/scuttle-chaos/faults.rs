//! What goes wrong, and when: a list that follows from the seed alone. Who makes it so is in `trouble`.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::stage::GROUPS;
use scuttle_tests::proxy::Weather;

/// Between two faults, on average.
const MEAN_GAP_MS: u64 = 650;

/// A program that can be killed and stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Actor {
    /// nats-server.
    Nats,
    /// The controller.
    Controller,
    /// One process of simulated hosts.
    Group(usize),
}

/// A way through a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Road {
    /// The controller's.
    Controller,
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
    /// SIGSTOP, and SIGCONT after a pause.
    Stop(Actor, Duration),
    /// Its connections end.
    Cut(Road),
    /// Another weather for a time.
    Weather(Road, Weather, Duration),
    /// Its connections end, and are refused for a time.
    Partition(Road, Duration),
}

/// A fault and its time after the beginning.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Planned {
    pub(crate) at: Duration,
    pub(crate) fault: Fault,
}

/// All faults of a run.
pub(crate) fn plan(seed: u64, length: Duration) -> Vec<Planned> {
    let mut dice = StdRng::seed_from_u64(seed);
    let mut at = Duration::ZERO;
    let mut planned = Vec::new();
    loop {
        at += Duration::from_millis(dice.random_range(50..2 * MEAN_GAP_MS - 50));
        let fault = fault(&mut dice);
        if at >= length {
            return planned;
        }
        planned.push(Planned { at, fault });
    }
}

/// The weights are chosen so that each kind comes about as often as the system needs to get something done between two
/// of them: the server and the controller are everybody's, a group of hosts is one of many.
fn fault(dice: &mut StdRng) -> Fault {
    let millis =
        |dice: &mut StdRng, from: u64, to: u64| Duration::from_millis(dice.random_range(from..=to));
    match dice.random_range(0..100) {
        0..6 => Fault::Kill(Actor::Controller, millis(dice, 300, 3_000)),
        6..10 => Fault::Stop(Actor::Controller, millis(dice, 500, 5_000)),
        10..13 => Fault::Kill(Actor::Nats, millis(dice, 300, 2_500)),
        13..16 => Fault::Stop(Actor::Nats, millis(dice, 500, 4_000)),
        16..32 => Fault::Kill(group(dice), millis(dice, 300, 6_000)),
        32..43 => Fault::Stop(group(dice), millis(dice, 500, 8_000)),
        43..57 => Fault::Cut(road(dice)),
        57..75 => Fault::Weather(road(dice), slow(dice), millis(dice, 1_000, 10_000)),
        75..85 => Fault::Weather(road(dice), STALLED, millis(dice, 500, 6_000)),
        _ => Fault::Partition(road(dice), millis(dice, 500, 8_000)),
    }
}

const STALLED: Weather = Weather {
    to_server: Duration::ZERO,
    from_server: Duration::ZERO,
    jitter: Duration::ZERO,
    stalled: true,
    refused: false,
};

fn slow(dice: &mut StdRng) -> Weather {
    let mut latency = || Duration::from_millis(dice.random_range(0..=250));
    Weather {
        to_server: latency(),
        from_server: latency(),
        jitter: latency(),
        ..Weather::default()
    }
}

fn group(dice: &mut StdRng) -> Actor {
    Actor::Group(dice.random_range(0..GROUPS))
}

fn road(dice: &mut StdRng) -> Road {
    match dice.random_range(0..GROUPS + 5) {
        0 | 1 => Road::Controller,
        2 | 3 => Road::Operators,
        4 => Road::Viewer,
        more => Road::Group(more - 5),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::plan;

    #[test]
    fn the_same_seed_plans_the_same_faults() {
        let plan = |seed| format!("{:?}", plan(seed, Duration::from_mins(1)));
        assert_eq!(plan(7), plan(7));
        assert_ne!(plan(7), plan(8));
    }
}
