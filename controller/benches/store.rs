//! Benchmarks of a store on the disk of the build directory: an append with its fsync, a
//! checkpoint, and a load.

use std::cell::RefCell;
use std::path::Path;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use scuttle_controller::store::{RedbStore, Store};
use scuttle_core::Change;
use scuttle_steps::Swarm;
use tempfile::TempDir;

/// The number of deckies on each host.
const DECKIES: usize = 100;

/// Creates a store in the build directory, because /tmp may be in memory instead of on a disk.
fn store() -> (TempDir, RedbStore) {
    let dir = tempfile::tempdir_in(Path::new(env!("CARGO_TARGET_TMPDIR"))).expect("a folder");
    let store = RedbStore::open(dir.path()).expect("a store");
    (dir, store)
}

/// Returns the changes of one batch that accepts `count` teardowns.
fn accepts(swarm: &mut Swarm, count: usize) -> Vec<Change> {
    for number in 0..count {
        let (_, input) = swarm.accept(number);
        swarm.step(input);
    }
    swarm.close().changes
}

fn append(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append the changes of so many accepts");
    for count in [1, 16, 256, 1024] {
        let (_dir, mut store) = store();
        let changes = accepts(&mut Swarm::new(100, DECKIES), count);
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter(|| store.append(&changes).expect("appended"));
        });
    }
}

fn checkpoint(criterion: &mut Criterion) {
    let (_dir, store) = store();
    let changes = accepts(&mut Swarm::new(100, DECKIES), 400);
    let store = RefCell::new(store);
    criterion.bench_function("checkpoint the changes of 400 accepts", |bencher| {
        bencher.iter_batched(
            || store.borrow_mut().append(&changes).expect("appended"),
            |()| store.borrow_mut().checkpoint(changes.len()).expect("moved"),
            BatchSize::PerIteration,
        );
    });
}

fn load(criterion: &mut Criterion) {
    let (_dir, mut store) = store();
    store
        .append(&accepts(&mut Swarm::new(100, DECKIES), 10_000))
        .expect("appended");
    store.checkpoint(usize::MAX).expect("moved");
    criterion.bench_function("load 10,000 shards with their operations", |bencher| {
        bencher.iter(|| store.load(&mut |_| Ok(())).expect("loaded"));
    });
}

criterion_group! {
    name = benches;
    // Writing to a disk is slow and its duration varies, so more samples would not be more exact.
    config = Criterion::default().sample_size(20);
    targets = append, checkpoint, load
}
criterion_main!(benches);
