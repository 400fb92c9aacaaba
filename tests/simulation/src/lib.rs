//! The deterministic simulation: the real core, engine halves, store, agent machine and ledger in one thread,
//! over a simulated network, clocks and disks, all from one seed. An oracle of its own checks the invariants of
//! ARCHITECTURE.md after every step, and that all agree once the faults have stopped.
//!
//! `world` is the queue of events; `controller`, `agents`, `operators` and `subscribers` are those to whom they
//! happen; `network`, `disk`, `ledger` and `servers` are what fails them; `oracle` judges. There is one controller over a store
//! of its own, or there are several that share a journal: `term` is what a leader does, `lead` how one of several comes to it. Or
//! there are several such groups: `divided` says who hears what, `gather` makes their lists one.

mod agents;
mod chance;
mod controller;
mod deckies;
mod disk;
mod divided;
mod faults;
mod gather;
mod kept;
mod lead;
mod ledger;
mod network;
mod operators;
mod oracle;
mod plan;
mod servers;
mod subscribers;
mod term;
mod world;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

pub use oracle::Broken;
pub use world::Counts;

use world::World;

/// How one seed ended.
#[derive(Debug)]
pub struct Outcome {
    /// What was counted.
    pub counts: Counts,
    /// The first broken invariant.
    pub broken: Option<Broken>,
    /// What happened, a line an event, if it was wanted.
    pub transcript: Vec<String>,
}

/// Runs one seed.
pub fn run(seed: u64, transcript: bool) -> Outcome {
    let mut world = World::new(seed, transcript);
    let ended = catch_unwind(AssertUnwindSafe(|| world.run()));
    if let Err(panic) = ended {
        let text = text_of(&*panic);
        let broken = Broken {
            invariant: "an assertion of the code under test",
            what: text,
        };
        world.write(&format!("PANIC {broken}"));
        world.broken = Some(broken);
    }
    Outcome {
        counts: world.counts,
        broken: world.broken.clone(),
        transcript: world.transcript.take().unwrap_or_default(),
    }
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "a panic".to_owned())
}

#[cfg(test)]
mod tests {
    use super::{Counts, run};

    #[test]
    fn a_seed_twice_is_the_same_to_the_last_line() {
        for seed in 0..20 {
            let (one, two) = (run(seed, true), run(seed, true));
            assert!(one.transcript.len() > 100, "seed {seed}");
            assert_eq!(one.transcript, two.transcript, "seed {seed}");
            assert_eq!(one.counts, run(seed, false).counts, "seed {seed}");
        }
    }

    #[test]
    fn a_few_seeds_break_nothing() {
        let mut counts = Counts::default();
        for seed in 0..50 {
            let outcome = run(seed, false);
            assert_eq!(outcome.broken, None, "seed {seed}");
            counts.add(&outcome.counts);
        }
        assert!(counts.takeovers > 50, "{counts:?}");
    }
}
