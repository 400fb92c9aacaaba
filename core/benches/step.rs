//! Benchmarks of single steps, mostly without closing the batch.

use std::cell::RefCell;
use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use scuttle_steps::Swarm;

/// The number of deckies on each host.
const DECKIES: usize = 100;

fn steps(criterion: &mut Criterion) {
    for (size, hosts) in [("10,000", 100), ("1,000,000", 10_000)] {
        let swarm = RefCell::new(Swarm::new(hosts, DECKIES));
        let number = RefCell::new(0..);
        let next = || number.borrow_mut().next().unwrap_or(0);

        criterion.bench_function(&format!("accept, {size} shards"), |bencher| {
            let accepted = RefCell::new(None);
            bencher.iter_batched(
                || {
                    let mut swarm = swarm.borrow_mut();
                    if let Some(operation) = accepted.take() {
                        swarm.cancel(operation);
                    }
                    let (operation, input) = swarm.accept(next());
                    *accepted.borrow_mut() = Some(operation);
                    input
                },
                |input| black_box(swarm.borrow_mut().step(input)),
                BatchSize::PerIteration,
            );
            if let Some(last) = accepted.take() {
                swarm.borrow_mut().cancel(last);
            }
        });
        criterion.bench_function(&format!("heartbeat, unchanged, {size} shards"), |bencher| {
            bencher.iter_batched(
                || swarm.borrow_mut().unchanged(next()),
                |input| {
                    let mut swarm = swarm.borrow_mut();
                    let reply = swarm.step(input);
                    black_box((reply, swarm.close()))
                },
                BatchSize::SmallInput,
            );
        });
    }
    results(criterion);
}

/// Benchmarks the step that applies a result. Each result removes its decky, so the swarm is
/// replaced when no decky is left.
fn results(criterion: &mut Criterion) {
    const HOSTS: usize = 100;
    let (swarm, removed) = (RefCell::new(Swarm::new(HOSTS, DECKIES)), RefCell::new(0));
    criterion.bench_function("result, 10,000 shards", |bencher| {
        bencher.iter_batched(
            || {
                let number = *removed.borrow() % (HOSTS * DECKIES);
                if number == 0 {
                    swarm.replace(Swarm::new(HOSTS, DECKIES));
                }
                *removed.borrow_mut() += 1;
                let mut swarm = swarm.borrow_mut();
                let (operation, accept) = swarm.accept(number);
                swarm.step(accept);
                swarm.close();
                swarm.result(number, operation)
            },
            |input| black_box(swarm.borrow_mut().step(input)),
            BatchSize::PerIteration,
        );
    });
}

criterion_group!(benches, steps);
criterion_main!(benches);
