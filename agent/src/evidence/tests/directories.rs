//! Tests of the directory: which directories are accepted, what a start cleans up, and full disks.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use super::faulty_disk::FaultyDisk;
use super::{EvidenceError, UNIT, list, noise, open, open_on, operation, save};

fn rejection(dir: &Path) -> String {
    open(dir, 100 * UNIT).expect_err("rejected").to_string()
}

#[test]
fn a_directory_that_cannot_be_used_is_rejected_with_its_path_and_with_advice() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let shared = dir.join("shared");
    fs::create_dir(&shared).expect("created");
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o775)).expect("changed");
    fs::write(dir.join("file"), "").expect("written");
    let long = dir.join("x/".repeat(500));
    for (path, words) in [
        (shared.as_path(), ["mode 775", "chmod go-w"]),
        (&dir.join("file"), ["cannot create", "--evidence-dir"]),
        (&dir.join("file/below"), ["cannot create", "--evidence-dir"]),
        (
            Path::new("/proc/scuttle"),
            ["cannot create", "mount or create"],
        ),
        (&long, ["at most 800 characters", "--evidence-dir"]),
    ] {
        let error = rejection(path);
        let path = path.display().to_string();
        for word in words.into_iter().chain([path.trim_end_matches('/')]) {
            assert!(error.contains(word), "{word:?} is missing in: {error}");
        }
    }
    let first = open(dir, 100 * UNIT).expect("opened");
    assert!(rejection(dir).contains("in use by another process"));
    drop(first);
    open(dir, 100 * UNIT).expect("opened");
}

#[test]
fn a_start_removes_partial_files_and_leaves_foreign_files_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let saved = save(
        &open(dir, 100 * UNIT).expect("opened"),
        operation(1),
        b"log",
    )
    .expect("saved");
    let whole = list(dir);
    let name = |number: u128, ending: &str| format!("{}.1.web{ending}", operation(number));
    for partial in [".tar.gz.partial", ".json.partial", ".json"] {
        fs::write(dir.join(name(2, partial)), "{").expect("written");
    }
    let foreign = dir.join("notes.txt");
    fs::write(&foreign, "keep").expect("written");
    // A link with the name of an archive must neither count nor be followed.
    let outside = tempfile::NamedTempFile::new().expect("a file");
    fs::write(outside.path(), noise(2 * UNIT)).expect("written");
    symlink(outside.path(), dir.join(name(0, ".tar.gz"))).expect("linked");

    let store = open(dir, 16 * UNIT).expect("opened");
    let mut expected = whole;
    expected.extend(["notes.txt".to_owned(), name(0, ".tar.gz")]);
    expected.sort();
    assert_eq!(list(dir), expected);
    for number in 3..10 {
        save(&store, operation(number), &noise(3 * UNIT)).expect("saved");
    }
    assert!(!Path::new(&saved.path).exists(), "dropped as the oldest");
    assert!(foreign.exists());
    assert_eq!(fs::read(outside.path()).expect("there"), noise(2 * UNIT));
}

#[test]
fn a_full_disk_is_an_error_with_advice_and_leaves_no_archive() {
    const NO_SPACE: i32 = 28;
    for step in 0.. {
        let dir = tempfile::tempdir().expect("a directory");
        let disk = FaultyDisk::new(dir.path());
        let store = open_on(Box::new(disk.clone()), dir.path(), 100 * UNIT);
        disk.fail_writes_from(step, NO_SPACE);
        match save(&store, operation(1), &noise(2 * UNIT)) {
            Err(error @ EvidenceError::Io { .. }) => {
                let text = error.to_string();
                let path = dir.path().display().to_string();
                for word in [
                    "cannot ",
                    path.as_str(),
                    "free some space",
                    "--evidence-max-mb",
                ] {
                    assert!(text.contains(word), "{word:?} is missing in: {text}");
                }
                assert_eq!(list(dir.path()), ["evidence.lock"], "step {step}");
                disk.repair();
                save(&store, operation(1), b"later").expect("saved after the repair");
            }
            Err(other) => panic!("step {step}: {other}"),
            Ok(_) => {
                assert!(step > 5, "only {step} steps were tried");
                return;
            }
        }
    }
}

#[test]
fn a_directory_that_vanishes_is_an_error() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("evidence");
    let store = open(&path, 100 * UNIT).expect("opened");
    fs::remove_dir_all(&path).expect("removed");
    let error = save(&store, operation(1), b"log")
        .expect_err("no directory")
        .to_string();
    assert!(
        error.contains("mount or create the evidence directory again"),
        "{error}"
    );
}
