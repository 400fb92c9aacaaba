//! Tests of single archives: their content, their limits, and their place in the directory.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::super::archive::ArchiveWriter;
use super::{UNIT, check_archive, decky, list, noise, open, operation, save, unpack};

#[test]
fn an_archive_contains_files_of_unknown_length_and_its_manifest() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path().join("deep/evidence");
    let store = open(&dir, 100 * UNIT).expect("opened");
    for (number, length) in [0, 1, 511, 512, 513, 3 * UNIT + 7].into_iter().enumerate() {
        let saved = save(&store, operation(number as u128), &noise(length)).expect("saved");
        let path = Path::new(&saved.path);
        assert!(path.is_absolute());
        let manifest = check_archive(path);
        assert!(!manifest.truncated);
        assert_eq!(manifest.host_uuid.as_str(), "worker-a");
        assert_eq!(
            (manifest.operation_id, manifest.attempt),
            (operation(number as u128), 1)
        );
        assert_eq!(manifest.containers[0].files[0].bytes, length);
        assert_eq!(unpack(path)[0].1, noise(length));
        let mode = |path: &Path| fs::metadata(path).expect("exists").permissions().mode() & 0o777;
        assert_eq!((mode(path), mode(&dir)), (0o600, 0o700));
    }
}

#[test]
fn further_attempts_never_overwrite_an_archive() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path(), 100 * UNIT).expect("opened");
    let first = save(&store, operation(1), b"first").expect("saved");
    let second = save(&store, operation(1), b"second").expect("saved");
    drop(store);
    let store = open(dir.path(), 100 * UNIT).expect("opened");
    let third = save(&store, operation(1), b"third").expect("saved");
    for (saved, attempt, log) in [
        (first, 1, "first"),
        (second, 2, "second"),
        (third, 3, "third"),
    ] {
        let path = Path::new(&saved.path);
        assert_eq!(check_archive(path).attempt, attempt);
        assert_eq!(unpack(path)[0].1, log.as_bytes());
    }
}

#[test]
fn a_log_beyond_the_limit_is_cut_and_the_manifest_says_so() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path(), 16 * UNIT).expect("opened");
    // Of a log that compresses well, too: the limit is that of the unpacked data.
    for log in [noise(5 * UNIT), vec![b'x'; 5 * 256 * 1024]] {
        let saved = save(&store, operation(1), &log).expect("saved");
        let manifest = check_archive(Path::new(&saved.path));
        assert!(manifest.truncated && manifest.containers[0].files[0].truncated);
        assert_eq!(manifest.containers[0].files[0].bytes, 4 * UNIT);
    }
    let archive = ArchiveWriter::start(&store, operation(2), &decky()).expect("started");
    let mut file = archive.start_file("a", 3).expect("started");
    assert!(
        file.append(b"abc").expect("written"),
        "the limit itself fits"
    );
    assert!(!file.append(b"d").expect("written"));
    let (archive, saved) = file.finish().expect("finished");
    assert_eq!((saved.bytes, saved.truncated), (3, true));
    assert_eq!(archive.left(), 4 * UNIT - 3);
}

#[test]
fn an_archive_that_is_not_finished_leaves_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path(), 100 * UNIT).expect("opened");
    let archive = ArchiveWriter::start(&store, operation(1), &decky()).expect("started");
    assert_eq!(list(dir.path()).len(), 2, "the lock and a partial file");
    let mut file = archive.start_file("a", UNIT).expect("started");
    file.append(&noise(UNIT)).expect("written");
    drop(file);
    assert_eq!(list(dir.path()), ["evidence.lock"]);
}

#[test]
fn the_oldest_archives_make_room_but_not_those_of_open_operations() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path(), 16 * UNIT).expect("opened");
    let kept = store.begin(operation(1));
    for number in 1..=10 {
        save(&store, operation(number), &noise(3 * UNIT)).expect("saved");
        let files = list(dir.path());
        let sizes = files
            .iter()
            .map(|file| fs::metadata(dir.path().join(file)).expect("there").len());
        assert!(sizes.sum::<u64>() <= 16 * UNIT, "{files:?}");
        assert!(
            files
                .iter()
                .any(|file| file.starts_with(&operation(1).to_string()))
        );
        assert!(
            files
                .iter()
                .any(|file| file.starts_with(&operation(number).to_string()))
        );
    }
    let archives = |number: u128| {
        let prefix = operation(number).to_string();
        list(dir.path())
            .iter()
            .filter(|file| file.starts_with(&prefix))
            .count()
    };
    assert_eq!([1, 2, 7, 8, 10].map(archives), [2, 0, 0, 2, 2]);
    drop(kept);
    save(&store, operation(11), &noise(3 * UNIT)).expect("saved");
    assert_eq!([1, 8, 11].map(archives), [0, 2, 2]);
}

#[test]
fn the_last_archive_of_each_decky_of_an_operation_is_found() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path(), 16 * UNIT).expect("opened");
    save(&store, operation(1), b"first").expect("saved");
    save(&store, operation(2), b"other").expect("saved");
    let last = save(&store, operation(1), b"second").expect("saved");
    let found = store.find_saved(operation(1)).into_iter();
    let found: Vec<_> = found
        .map(|(decky, sidecar)| (decky, store.to_evidence(sidecar)))
        .collect();
    assert_eq!(found, [(decky(), last)]);
    assert!(store.find_saved(operation(3)).is_empty());
}

#[test]
fn an_archive_is_cut_where_open_operations_use_the_rest_of_the_directory() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path(), 16 * UNIT).expect("opened");
    let open: Vec<_> = (1..=4)
        .map(|number| store.begin(operation(number)))
        .collect();
    for number in 1..=3 {
        save(&store, operation(number), &noise(4 * UNIT)).expect("saved");
    }
    let saved = save(&store, operation(4), &noise(4 * UNIT)).expect("saved");
    let manifest = check_archive(Path::new(&saved.path));
    assert!(manifest.truncated);
    assert!(manifest.containers[0].files[0].bytes > 2 * UNIT);
    drop(open);
    let saved = save(&store, operation(5), &noise(4 * UNIT)).expect("saved");
    assert!(!check_archive(Path::new(&saved.path)).truncated);
}
