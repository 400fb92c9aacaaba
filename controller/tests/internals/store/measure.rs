//! Measures a backup of a million shards: its duration, its size, and its effect on commits that
//! happen during the backup. Also measures how long a restore takes.
//!
//! Run it with `cargo test --release -p scuttle-controller --test internals store::measure --
//! --ignored --nocapture`. It writes to the disk of `TMPDIR`.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use scuttle_controller::ops::backup::{BackupServer, Interrupt, create, restore};
use scuttle_controller::store::{FILE_NAME, RedbStore, Store};
use scuttle_schemas::Timestamp;

use super::rows::{host, meta, shard};

const HOSTS: usize = 1_000;
const DECKIES: usize = 1_000;

/// The time for which commits are measured without a backup, for comparison.
const BASELINE_DURATION: Duration = Duration::from_secs(5);

fn fill(store: &mut RedbStore) {
    for host_number in 0..HOSTS {
        let name = format!("host-{host_number:04}");
        let mut batch = vec![host(&name, 1)];
        batch.extend((0..DECKIES).map(|decky| shard(&name, &format!("decky-{decky:04}"), 1)));
        store.append(&batch).expect("an append");
        if host_number % 100 == 99 {
            store.checkpoint(usize::MAX).expect("a checkpoint");
        }
    }
    store.append(&[meta(1)]).expect("an append");
}

/// Commits ten shards at a time until `ended` returns true, and after every 200 commits checkpoints
/// at least 1,000 changes. Returns the duration of each commit, shortest first.
fn measure_commits(store: &mut RedbStore, ended: impl Fn() -> bool) -> Vec<Duration> {
    let mut took = Vec::new();
    while !ended() {
        let number = took.len();
        let name = format!("host-{:04}", number * 7 % HOSTS);
        let decky = |one: usize| format!("decky-{:04}", (number * 10 + one) % DECKIES);
        let batch: Vec<_> = (0..10).map(|one| shard(&name, &decky(one), 2)).collect();
        let start = Instant::now();
        store.append(&batch).expect("an append");
        took.push(start.elapsed());
        if number % 200 == 199 {
            store.checkpoint(1_000).expect("a checkpoint");
        }
    }
    took.sort();
    took
}

fn print_percentiles(what: &str, took: &[Duration]) {
    let at = |share: usize| took[(took.len() - 1) * share / 1000].as_secs_f64() * 1e3;
    println!(
        "{what}: {} commits, median {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, longest {:.2} ms",
        took.len(),
        at(500),
        at(990),
        at(999),
        at(1000)
    );
}

fn size_in_mib(file: &Path) -> u64 {
    fs::metadata(file).expect("metadata").len() >> 20
}

#[test]
#[ignore = "measures, for a minute: run it alone, in release"]
fn measure_a_backup_of_a_million_shards() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (data, file) = (dir.path().join("data"), dir.path().join("backup.redb"));
    let mut store = RedbStore::open(&data).expect("the store opens");
    fill(&mut store);
    let store_file = data.join(FILE_NAME);
    println!(
        "store: {} shards, {} MiB",
        HOSTS * DECKIES,
        size_in_mib(&store_file)
    );

    let start = Instant::now();
    let without = measure_commits(&mut store, || start.elapsed() > BASELINE_DURATION);
    print_percentiles("without a backup", &without);

    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(1).enable_all();
    let runtime = runtime.build().expect("a runtime");
    let backups = runtime.block_on(async { BackupServer::start(&data, store.snapshots()) });
    let before = size_in_mib(&store_file);
    let interrupt = Interrupt::default();
    let (made, with) = std::thread::scope(|scope| {
        let making = scope.spawn(|| create(&data, &file, false, &interrupt).expect("a backup"));
        let with = measure_commits(&mut store, || making.is_finished());
        (making.join().expect("it does not panic"), with)
    });
    println!("backup: {made}");
    print_percentiles("with a backup", &with);
    println!(
        "store: {before} MiB before, {} MiB after",
        size_in_mib(&store_file)
    );

    runtime.block_on(backups.stop());
    drop(store);
    let start = Instant::now();
    let (new, now) = (dir.path().join("new"), Timestamp::from_millis(0));
    let restored = restore(&new, &file, now, &interrupt).expect("restored");
    println!(
        "restore: {restored}, in {:.1} s",
        start.elapsed().as_secs_f64()
    );
}
