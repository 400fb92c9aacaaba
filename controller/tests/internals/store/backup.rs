//! Snapshots, backups of a stopped controller's store, and restores. Backups of a running
//! controller are tested in `tests/e2e/backup_and_migration/backup.rs`.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use redb::{Database, TableDefinition};
use scuttle_controller::ops::backup::error::BackupError;
use scuttle_controller::ops::backup::{Interrupt, create, restore};
use scuttle_controller::store::{FILE_NAME, RedbStore, Snapshot, Store, StoreError};
use scuttle_core::{Change, Revisions, RowCounts};
use scuttle_schemas::Timestamp;
use tempfile::TempDir;

use super::rows::{host, key, meta, operation, removed, shard};
use super::rows::{load, rows_of};

const NOW: i64 = 1_795_425_109_000;

fn content(snapshot: &Snapshot) -> BTreeMap<String, Change> {
    let mut changes = Vec::new();
    let read = snapshot.for_each_value(|record, _| {
        changes.extend_from_slice(record.changes());
        Ok::<_, StoreError>(())
    });
    read.expect("the snapshot can be read");
    rows_of(changes)
}

/// Commits that happen while the snapshot is being read do not change its content.
#[test]
fn a_snapshot_is_the_store_as_of_one_commit() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut store = RedbStore::open(dir.path()).expect("the store opens");
    let snapshots = store.snapshots();
    let mut appended = Vec::new();
    let mut version = 0;
    let mut write = |store: &mut RedbStore, appended: &mut Vec<Change>| {
        version += 1;
        let other = shard("a", &format!("d{}", version % 5), version);
        let removal = removed("a", &format!("d{}", (version + 2) % 5));
        let batch = [meta(version), host("a", version), other, removal];
        store.append(&batch).expect("an append");
        appended.extend(batch);
        if version % 3 == 0 {
            store.checkpoint(7).expect("a checkpoint");
        }
    };
    let mut values = 0;
    for _ in 0..12 {
        write(&mut store, &mut appended);
        write(&mut store, &mut appended);
        let snapshot = snapshots.take().expect("a snapshot");
        let expected = rows_of(appended.clone());
        let mut read = Vec::new();
        let outcome = snapshot.for_each_value(|record, _| {
            read.extend_from_slice(record.changes());
            values += 1;
            write(&mut store, &mut appended);
            Ok::<_, StoreError>(())
        });
        outcome.expect("the snapshot can be read");
        assert_eq!(rows_of(read), expected);
        assert_eq!(content(&snapshot), expected, "the second reading differs");
    }
    assert!(values > 50, "{values}");
    assert_eq!(rows_of(load(&mut store)), rows_of(appended));
}

/// A snapshot that outlives its store does not prevent the next controller from opening the file.
#[test]
fn a_snapshot_of_a_closed_store_ends_and_does_not_lock_the_file() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut store = RedbStore::open(dir.path()).expect("the store opens");
    let rows = (0..5000).map(|decky| shard("a", &format!("d{decky}"), 1));
    let rows: Vec<_> = std::iter::once(host("a", 1)).chain(rows).collect();
    store.append(&rows).expect("an append");
    store.checkpoint(1).expect("a checkpoint");
    let snapshots = store.snapshots();
    let snapshot = snapshots.take().expect("a snapshot");
    drop((store, snapshots));
    let mut store = RedbStore::open(dir.path()).expect("the store is not open");
    let read = snapshot.for_each_encoded(|_, _| Ok::<_, StoreError>(()));
    let error = read.expect_err("the store was closed").to_string();
    assert!(error.contains(FILE_NAME), "{error}");
    assert_eq!(load(&mut store).len(), 5001);
}

/// Creates a data directory that contains a store as a killed controller leaves it, with rows and a
/// journal. Returns the directory and the content of the store.
fn create_killed_store() -> (TempDir, Vec<Change>) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut store = RedbStore::open(dir.path()).expect("the store opens");
    let mut batch = vec![meta(1), host("a", 1), key("k", 1)];
    batch.extend((0..500).map(|decky| shard("a", &format!("d{decky}"), 1)));
    store.append(&batch).expect("an append");
    store.checkpoint(1).expect("a checkpoint");
    let later = [
        operation("a", 1, 1),
        shard("a", "d7", 2),
        removed("a", "d8"),
    ];
    store.append(&later).expect("an append");
    store.append(&[meta(2)]).expect("an append");
    let content = load(&mut store);
    let killed = tempfile::tempdir().expect("a temporary directory");
    let file = FILE_NAME;
    fs::copy(dir.path().join(file), killed.path().join(file)).expect("a copy");
    (killed, content)
}

fn list_names(dir: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<fs::DirEntry>| {
        let name = entry.expect("an entry").file_name();
        name.to_string_lossy().into_owned()
    };
    let mut names: Vec<_> = fs::read_dir(dir)
        .expect("the directory")
        .map(name)
        .collect();
    names.sort();
    names
}

fn make_backup(from: &TempDir) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("backup.redb");
    create(from.path(), &file, false, &Interrupt::default()).expect("a backup");
    (dir, file)
}

fn restore_backup(data_dir: &Path, file: &Path) -> Result<RowCounts, BackupError> {
    let now = Timestamp::from_millis(NOW);
    let restored = restore(data_dir, file, now, &Interrupt::default());
    restored.map(|restored| restored.content)
}

#[test]
fn a_backup_of_a_stopped_controller_does_not_change_its_store() {
    let (data, content) = create_killed_store();
    let before = fs::read(data.path().join(FILE_NAME)).expect("the store");
    let (dir, file) = make_backup(&data);
    assert_eq!(list_names(dir.path()), ["backup.redb"]);
    assert_eq!(list_names(data.path()), [FILE_NAME]);
    let after = fs::read(data.path().join(FILE_NAME)).expect("the store");
    assert!(before == after, "it was changed");

    let mode = fs::metadata(&file).expect("metadata").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // A backup is a valid store itself.
    let place = tempfile::tempdir().expect("a temporary directory");
    fs::rename(&file, place.path().join(FILE_NAME)).expect("renamed");
    let mut store = RedbStore::open(place.path()).expect("the store opens");
    assert_eq!(load(&mut store), content);
}

#[test]
fn a_restored_store_has_the_content_of_the_backup_with_higher_revisions() {
    let (data, content) = create_killed_store();
    let (_dir, file) = make_backup(&data);
    let place = tempfile::tempdir().expect("a temporary directory");
    // The directory is created if it is missing, and the backup may be read-only.
    let new = place.path().join("var/scuttle");
    fs::set_permissions(&file, PermissionsExt::from_mode(0o400)).expect("permissions");
    let (hosts, shards, open_operations) = (1, 499, 1);
    let expected = RowCounts {
        hosts,
        shards,
        open_operations,
    };
    assert_eq!(restore_backup(&new, &file).expect("restored"), expected);
    assert_eq!(list_names(&new), [FILE_NAME]);

    let mut store = RedbStore::open(&new).expect("the store opens");
    let mut rows = rows_of(load(&mut store));
    let mut before = rows_of(content);
    let Some(Change::Meta(raised)) = rows.remove("meta") else {
        panic!("the first row is not the swarm's");
    };
    let Some(Change::Meta(update)) = before.remove("meta") else {
        panic!("the first row was not the swarm's");
    };
    assert_eq!(raised.epoch, update.epoch);
    let Revisions {
        shards,
        hosts,
        operations,
    } = raised.revisions;
    for revision in [shards, hosts, operations] {
        assert!((1 << 40..1 << 53).contains(&revision), "{revision}");
    }
    for change in before.values_mut() {
        if let Change::Shard(row) = change {
            let row = std::sync::Arc::make_mut(row);
            assert!(row.revision < shards);
            row.revision = shards;
        }
    }
    assert_eq!(rows, before);
}

/// Checks that a restore into `data_dir` fails with an error that contains `words`, and changes
/// nothing.
fn check_restore_fails(data_dir: &Path, file: &Path, words: &[&str]) {
    let (there, bytes) = (list_names(data_dir), fs::read(file).ok());
    let error = restore_backup(data_dir, file)
        .expect_err("the restore fails")
        .to_string();
    for word in words {
        assert!(error.contains(word), "no {word:?} in: {error}");
    }
    assert_eq!(list_names(data_dir), there);
    assert!(fs::read(file).ok() == bytes, "the backup was changed");
}

#[test]
fn a_restore_never_replaces_a_store() {
    let (data, content) = create_killed_store();
    let (_dir, file) = make_backup(&data);
    let store = data.path().join(FILE_NAME);
    let store = store.to_str().expect("a name");
    check_restore_fails(data.path(), &file, &[store, "move the store away first"]);
    let open = RedbStore::open(data.path()).expect("the store opens");
    check_restore_fails(data.path(), &file, &[store, "move the store away first"]);
    drop(open);
    let mut store = RedbStore::open(data.path()).expect("the store opens");
    assert_eq!(load(&mut store), content);
}

#[test]
fn a_restore_of_an_invalid_file_names_it_and_changes_nothing() {
    const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
    const SHARDS: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("shards");
    let (data, _) = create_killed_store();
    let (dir, file) = make_backup(&data);
    let empty = tempfile::tempdir().expect("a temporary directory");
    let name = file.to_str().expect("a name");
    let none = dir.path().join("none");
    check_restore_fails(
        empty.path(),
        &none,
        &["none cannot be restored", "nothing was changed"],
    );
    let store = data.path().join(FILE_NAME);
    let open = RedbStore::open(data.path()).expect("the store opens");
    check_restore_fails(
        empty.path(),
        &store,
        &["in use", "make a backup of that controller"],
    );
    drop(open);

    let whole = fs::read(&file).expect("the backup");
    for content in [&b""[..], b"# a text file\n", &[0; 16_000]] {
        fs::write(&file, content).expect("a file");
        check_restore_fails(
            empty.path(),
            &file,
            &[name, "not a Scuttle store", "another backup"],
        );
    }
    for length in [1, 300, 4096, whole.len() / 2, whole.len() - 1] {
        fs::write(&file, &whole[..length]).expect("a file");
        check_restore_fails(empty.path(), &file, &[name, "nothing was changed"]);
    }
    let edit = |change: &dyn Fn(&redb::WriteTransaction)| {
        fs::write(&file, &whole).expect("a file");
        let database = Database::open(&file).expect("the database opens");
        let transaction = database.begin_write().expect("a transaction");
        change(&transaction);
        transaction.commit().expect("a commit");
    };
    edit(&|transaction| {
        let mut meta = transaction.open_table(META).expect("the table");
        let format = 77_u32.to_le_bytes();
        meta.insert("format", format.as_slice()).expect("a row");
    });
    let words = ["has format 77", "the version of Scuttle that wrote it"];
    check_restore_fails(empty.path(), &file, &words);
    edit(&|transaction| {
        let mut shards = transaction.open_table(SHARDS).expect("the table");
        shards.insert(("a", "d7"), &[0xff; 9][..]).expect("a row");
    });
    check_restore_fails(empty.path(), &file, &[name, "is damaged (table shards"]);
    edit(&|transaction| {
        let hosts: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("hosts");
        let mut hosts = transaction.open_table(hosts).expect("the table");
        hosts.remove("a").expect("a row");
    });
    check_restore_fails(empty.path(), &file, &["is damaged", "which is not stored"]);
    let missing = empty.path().join("missing");
    restore_backup(&missing, &file).expect_err("the restore fails");
    assert!(!missing.exists(), "no directory was made");

    fs::write(&file, &whole).expect("a file");
    restore_backup(empty.path(), &file).expect("the complete backup is restored");
}

#[test]
fn a_flipped_bit_in_a_backup_is_detected_or_harmless() {
    let (data, content) = create_killed_store();
    let (_dir, file) = make_backup(&data);
    let whole = fs::read(&file).expect("the backup");
    let shards = |changes: Vec<Change>| {
        let rows = rows_of(changes).into_iter();
        rows.filter(|(name, _)| name.starts_with("shard")).count()
    };
    let expected = shards(content);
    let mut rejected = 0;
    for at in (0..400).step_by(9).chain((400..whole.len()).step_by(4099)) {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x10;
        fs::write(&file, &flipped).expect("a damaged file");
        let place = tempfile::tempdir().expect("a temporary directory");
        match restore_backup(place.path(), &file) {
            Err(_) => {
                rejected += 1;
                assert_eq!(list_names(place.path()), [""; 0], "byte {at}");
            }
            Ok(content) => assert_eq!(content.shards, expected, "byte {at}"),
        }
    }
    assert!(rejected > 10, "{rejected} rejected");
}

#[test]
fn an_interrupted_backup_leaves_nothing() {
    let (data, _) = create_killed_store();
    let (dir, file) = make_backup(&data);
    let interrupt = Interrupt::default();
    interrupt.set();
    let again = dir.path().join("again.redb");
    let error = create(data.path(), &again, false, &interrupt).expect_err("interrupted");
    assert!(matches!(error, BackupError::Interrupted), "{error}");
    assert_eq!(list_names(dir.path()), ["backup.redb"]);
    let place = dir.path().join("place");
    let now = Timestamp::from_millis(NOW);
    let error = restore(&place, &file, now, &interrupt).expect_err("interrupted");
    assert!(matches!(error, BackupError::Interrupted), "{error}");
    assert_eq!(list_names(dir.path()), ["backup.redb"]);
}

#[test]
fn a_backup_replaces_no_file_unless_requested() {
    let (data, _) = create_killed_store();
    let (dir, file) = make_backup(&data);
    let before = fs::read(&file).expect("the backup");
    let interrupt = Interrupt::default();
    let error = create(data.path(), &file, false, &interrupt).expect_err("the file exists");
    assert!(error.to_string().contains("--force"), "{error}");
    assert!(fs::read(&file).expect("the backup") == before);

    let mut store = RedbStore::open(data.path()).expect("the store opens");
    store.append(&[host("b", 1)]).expect("an append");
    let error = create(data.path(), &file, true, &interrupt).expect_err("in use");
    assert!(matches!(error, BackupError::NotServed(_)), "{error}");
    drop(store);
    let made = create(data.path(), &file, true, &interrupt).expect("a backup");
    assert_eq!((made.content.hosts, made.from_running), (2, false));
    assert_eq!(list_names(dir.path()), ["backup.redb"]);

    let store = data.path().join(FILE_NAME);
    let error = create(data.path(), &store, true, &interrupt).expect_err("the store");
    assert!(matches!(error, BackupError::IsStore(_)), "{error}");
    assert_eq!(list_names(data.path()), [FILE_NAME]);

    let nowhere = dir.path().join("nowhere/backup.redb");
    let error = create(data.path(), &nowhere, false, &interrupt).expect_err("no directory");
    assert!(matches!(error, BackupError::Write { .. }), "{error}");
    let empty = tempfile::tempdir().expect("a temporary directory");
    let error = create(empty.path(), &nowhere, false, &interrupt).expect_err("no store");
    assert!(matches!(error, BackupError::NoStore(_)), "{error}");
    assert_eq!(list_names(empty.path()), [""; 0]);
}

/// The rows and the journal are each larger than what one transaction of a backup writes.
#[test]
fn a_large_store_is_backed_up_completely() {
    let data = tempfile::tempdir().expect("a temporary directory");
    let mut store = RedbStore::open(data.path()).expect("the store opens");
    let rows = |host_name: &'static str, version| {
        let shards = (0..45_000).map(move |decky| shard(host_name, &format!("d{decky}"), version));
        std::iter::once(host(host_name, version))
            .chain(shards)
            .collect::<Vec<_>>()
    };
    store.append(&rows("a", 1)).expect("an append");
    store.checkpoint(1).expect("a checkpoint");
    for (name, version) in [("b", 1), ("a", 2)] {
        store.append(&rows(name, version)).expect("an append");
    }
    let content = load(&mut store);
    drop(store);
    let (_dir, file) = make_backup(&data);
    let place = tempfile::tempdir().expect("a temporary directory");
    fs::rename(&file, place.path().join(FILE_NAME)).expect("renamed");
    let mut store = RedbStore::open(place.path()).expect("the store opens");
    assert_eq!(store.journal_len(), 90_002);
    assert!(load(&mut store) == content, "the rows differ");
}
