//! A crash between any two steps leaves either no archive or a whole one.

use std::path::Path;

use super::faulty_disk::FaultyDisk;
use super::{Random, UNIT, check_archive, list, open, open_on, operation, save};

/// A size that has room for one small archive, so that a second one drops the first.
const ROOM_FOR_ONE: u64 = UNIT + 1500;
const SEEDS: u64 = 8;

/// Saves a second archive, which drops the first, and stops the machine after `steps` changes.
/// Returns whether the save succeeded, and whether the machine was stopped.
fn save_and_crash(dir: &Path, steps: usize, seed: u64) -> (bool, bool) {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let disk = FaultyDisk::new(dir);
    let store = open_on(Box::new(disk.clone()), dir, ROOM_FOR_ONE);
    save(&store, operation(1), b"old").expect("saved");
    disk.stop_after(steps);
    let saved = save(&store, operation(2), b"new").is_ok();
    let stopped = disk.is_stopped();
    drop(store);
    disk.lose(&mut |max| random.up_to(max));
    (saved, stopped)
}

#[test]
fn a_crash_between_any_two_steps_leaves_no_archive_or_a_whole_one() {
    for steps in 0.. {
        let mut is_last = true;
        for seed in 1..=SEEDS {
            let dir = tempfile::tempdir().expect("a directory");
            let (saved, stopped) = save_and_crash(dir.path(), steps, seed);
            is_last &= !stopped;
            let store = open(dir.path(), 100 * UNIT).expect("opened");
            let replay = format!("steps {steps}, seed {seed}: {:?}", list(dir.path()));
            let mut found = [false; 2];
            for file in list(dir.path()) {
                assert!(!file.ends_with(".partial"), "{replay}");
                if file.ends_with(".tar.gz") {
                    let manifest = check_archive(&dir.path().join(&file));
                    found[usize::from(manifest.operation_id == operation(2))] = true;
                } else if let Some(name) = file.strip_suffix(".json") {
                    let archive = dir.path().join(format!("{name}.tar.gz"));
                    assert!(archive.exists(), "{replay}");
                }
            }
            assert!(found[1] || !saved, "the saved archive is lost, {replay}");
            // The directory still works.
            let again = save(&store, operation(2), b"again").expect("saved");
            check_archive(Path::new(&again.path));
        }
        if is_last {
            assert!(steps > 12, "only {steps} steps were tried");
            return;
        }
    }
}
