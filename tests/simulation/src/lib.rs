//! The deterministic simulation. The real core, engine, store, agent state machine and ledger run
//! in one thread, over a simulated network, clocks and disks. Every choice follows from one seed. A
//! separate oracle checks the invariants after every step. After the faults have stopped, the
//! simulation checks that all participants agree.
//!
//! | module | content |
//! | --- | --- |
//! | `seed` | the random numbers, and what a seed chooses with them |
//! | `storage` | disks, and what the NATS servers store |
//! | `state` | the simulated participants, as data |
//! | `oracle` | the invariants |
//! | `simulation` | the queue of events |
//! | `network`, `agents`, `controllers`, `clients`, `faults` | the handling of the events |
//! | `agreement` | the checks at the end of a run |
//!
//! A run has
//!
//! - one controller with a local store,
//! - several controllers that share a journal (`controllers::leadership`), or
//! - several groups of controllers that share a journal, one group for each partition of the hosts
//!   (`state::partitioning`).

mod agents;
mod agreement;
mod clients;
mod controllers;
mod faults;
mod network;
pub mod oracle;
mod seed;
mod simulation;
pub mod state;
mod storage;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use oracle::violation::Violation;
use simulation::Simulation;
use state::counts::Counts;

/// The outcome of the run of one seed.
#[derive(Debug)]
pub struct Outcome {
    pub counts: Counts,
    /// The first violation of an invariant, or `None` if all invariants held.
    pub violation: Option<Violation>,
    /// The transcript, with one line per event. Empty unless it was requested.
    pub transcript: Vec<String>,
}

/// Runs one seed, and records a transcript if requested. A panic counts as a violation.
pub fn run(seed: u64, transcript: bool) -> Outcome {
    let mut simulation = Simulation::new(seed, transcript);
    let ended = catch_unwind(AssertUnwindSafe(|| simulation.run()));
    if let Err(panic) = ended {
        let text = panic_text(&*panic);
        let violation = Violation {
            invariant: "an assertion in the code under test",
            details: text,
        };
        simulation.write_line(&format!("PANIC {violation}"));
        simulation.violation = Some(violation);
    }
    Outcome {
        counts: simulation.counts,
        violation: simulation.violation.clone(),
        transcript: simulation.transcript.take().unwrap_or_default(),
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "a panic".to_owned())
}
