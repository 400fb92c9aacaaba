//! `scuttle-steps KIND COUNT`: prepares the same swarm each time, then takes so many steps of one kind.
//!
//! It prints nothing that counts: `cargo xtask bench instructions` runs it under callgrind with two counts, and what the
//! second needs more than the first is what the steps need.

use std::process::ExitCode;

use scuttle_core::{Input, Reply};
use scuttle_steps::Swarm;

const HOSTS: usize = 100;
const DECKIES: usize = 100;
/// The most steps: as many are prepared, however many are taken.
const MOST: usize = 4_000;
/// Steps in a batch, whose end is counted with them.
const BATCH: usize = 50;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match &arguments[..] {
        [kind, count] => count.parse().ok().and_then(|count| take(kind, count)),
        _ => None,
    };
    if done.is_some() {
        return ExitCode::SUCCESS;
    }
    eprintln!(
        "usage: scuttle-steps accept|heartbeat|result COUNT, at most {MOST}, a multiple of {BATCH}"
    );
    ExitCode::from(2)
}

/// Nothing when there is no such kind, or not so many.
fn take(kind: &str, count: usize) -> Option<()> {
    if count > MOST || !count.is_multiple_of(BATCH) {
        return None;
    }
    let mut swarm = Swarm::new(HOSTS, DECKIES);
    let inputs: Vec<Input> = match kind {
        "accept" => (0..MOST).map(|number| swarm.accept(number).1).collect(),
        "heartbeat" => (0..MOST).map(|number| swarm.unchanged(number)).collect(),
        "result" => (0..MOST)
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
    for _ in 0..count / BATCH {
        for input in inputs.by_ref().take(BATCH) {
            let reply = swarm.step(input);
            assert!(
                !matches!(reply, None | Some(Reply::Rejected(_))),
                "{reply:?}"
            );
        }
        std::hint::black_box(swarm.close());
    }
    // What is left over must not be freed: that would be counted for the smaller count alone.
    std::mem::forget((swarm, inputs));
    Some(())
}
