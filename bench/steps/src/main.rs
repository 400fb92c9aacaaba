//! `scuttle-steps KIND COUNT`: prepares the same swarm each time, then takes COUNT steps of one
//! kind.
//!
//! `cargo xtask bench instructions` runs the program under callgrind with two counts. The
//! difference between the two runs is the number of instructions of the additional steps.

use std::process::ExitCode;

use scuttle_core::{Input, Reply};
use scuttle_steps::Swarm;

const HOSTS: usize = 100;
const DECKIES: usize = 100;
/// The maximum number of steps. Inputs for this many steps are prepared, whatever COUNT is.
const MAX_STEPS: usize = 4_000;
/// The number of steps in a batch. The end of a batch is counted as part of its steps.
const BATCH_SIZE: usize = 50;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match &arguments[..] {
        [kind, count] => count.parse().ok().and_then(|count| run_steps(kind, count)),
        _ => None,
    };
    if result.is_some() {
        return ExitCode::SUCCESS;
    }
    eprintln!(
        "usage: scuttle-steps accept|heartbeat|result COUNT, at most {MAX_STEPS}, a multiple of {BATCH_SIZE}"
    );
    ExitCode::from(2)
}

/// Prepares the swarm and takes the steps. Returns `None` if the kind does not exist or the count
/// is not allowed.
fn run_steps(kind: &str, count: usize) -> Option<()> {
    if count > MAX_STEPS || !count.is_multiple_of(BATCH_SIZE) {
        return None;
    }
    let mut swarm = Swarm::new(HOSTS, DECKIES);
    let inputs: Vec<Input> = match kind {
        "accept" => (0..MAX_STEPS)
            .map(|number| swarm.accept(number).1)
            .collect(),
        "heartbeat" => (0..MAX_STEPS)
            .map(|number| swarm.unchanged(number))
            .collect(),
        "result" => (0..MAX_STEPS)
            .map(|number| {
                let (operation, accept) = swarm.accept(number);
                swarm.step(accept);
                swarm.close();
                swarm.result(number, operation)
            })
            .collect(),
        _ => return None,
    };
    let mut inputs = inputs.into_iter().take(count);
    for _ in 0..count / BATCH_SIZE {
        for input in inputs.by_ref().take(BATCH_SIZE) {
            let reply = swarm.step(input);
            assert!(
                !matches!(reply, None | Some(Reply::Rejected(_))),
                "{reply:?}"
            );
        }
        std::hint::black_box(swarm.close());
    }
    // The inputs that were not used must not be freed: the run with the smaller count has more of
    // them.
    std::mem::forget((swarm, inputs));
    Some(())
}
