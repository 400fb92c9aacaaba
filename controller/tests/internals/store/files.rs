//! Tests of a store's file: how it is created, and how invalid files are handled.

use std::fs;
use std::path::{Path, PathBuf};

use redb::{Database, ReadableDatabase, TableDefinition};
use scuttle_controller::store::{FILE_NAME, RedbStore, Store, StoreError};
use tempfile::TempDir;

use super::rows::{host, key, key_removed, meta, operation, operation_removed, removed, shard};
use super::rows::{load, rows_of};

const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const SHARDS: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("shards");
const JOURNAL: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("journal");

/// Creates a data directory with a store that has a few rows and a journal.
fn create_store() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut store = RedbStore::open(dir.path()).expect("the store opens");
    let mut batch = vec![meta(1), host("a", 1)];
    batch.extend((0..500).map(|decky| shard("a", &format!("d{decky}"), 1)));
    store.append(&batch).expect("an append");
    store.checkpoint(1).expect("a checkpoint");
    store.append(&[operation("a", 1, 1)]).expect("an append");
    let file = dir.path().join(FILE_NAME);
    (dir, file)
}

/// Returns the error from opening and loading the store in `dir`.
fn open_error(dir: &TempDir) -> StoreError {
    match RedbStore::open(dir.path()) {
        Err(error) => error,
        Ok(mut store) => store
            .load(&mut |_| Ok(()))
            .expect_err("the store is rejected"),
    }
}

/// Checks that opening and loading the store in `dir` fails with an error that contains `words` and
/// names the file.
fn check_open_fails(dir: &TempDir, words: &str) {
    let error = open_error(dir).to_string();
    assert!(error.contains(words), "{error}");
    let file = dir.path().join(FILE_NAME);
    assert!(error.contains(&file.display().to_string()), "{error}");
}

fn edit(file: &Path, edit: impl FnOnce(&redb::WriteTransaction)) {
    let database = Database::open(file).expect("the database opens");
    let transaction = database.begin_write().expect("a transaction");
    edit(&transaction);
    transaction.commit().expect("a commit");
}

#[test]
fn the_data_directory_is_accessible_only_by_its_user() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let data = dir.path().join("var/scuttle");
    drop(RedbStore::open(&data).expect("the store opens"));
    let names: Vec<_> = fs::read_dir(&data)
        .expect("the directory is there")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert_eq!(names, [FILE_NAME]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(&data).expect("metadata").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}

#[test]
fn a_store_cannot_be_opened_twice() {
    let (dir, _file) = create_store();
    let first = RedbStore::open(dir.path()).expect("the store opens");
    let error = open_error(&dir);
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains("is in use by another controller")
    );
    drop(first);
    RedbStore::open(dir.path()).expect("the first store is closed");
}

/// A copy of the file, made while the store is open, stands in for the file that a killed
/// controller leaves behind.
#[test]
fn the_store_of_a_killed_controller_has_every_append() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut store = RedbStore::open(dir.path()).expect("the store opens");
    let mut appended = Vec::new();
    for version in 1..40 {
        let batch = [meta(version), host("a", version), shard("a", "d", version)];
        store.append(&batch).expect("an append");
        appended.extend(batch);
        if version % 7 == 0 {
            store.checkpoint(6).expect("a checkpoint");
        }
        let killed = tempfile::tempdir().expect("a temporary directory");
        let copy = killed.path().join(FILE_NAME);
        fs::copy(dir.path().join(FILE_NAME), copy).expect("a copy");
        let mut next = RedbStore::open(killed.path()).expect("the store opens");
        assert_eq!(next.journal_len(), store.journal_len());
        assert_eq!(rows_of(load(&mut next)), rows_of(appended.clone()));
    }
}

#[test]
fn a_directory_that_cannot_be_created_is_named_in_the_error() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("file");
    fs::write(&file, "").expect("a file");
    let data = file.join("data");
    let error = RedbStore::open(&data).expect_err("a file is no directory");
    assert!(
        error.to_string().contains(&data.display().to_string()),
        "{error}"
    );
    assert!(
        error.to_string().contains("create the data directory"),
        "{error}"
    );
}

#[test]
fn a_store_of_another_format_is_rejected() {
    let (dir, file) = create_store();
    edit(&file, |transaction| {
        let mut meta = transaction.open_table(META).expect("the table");
        meta.insert("format", 1_u32.to_le_bytes().as_slice())
            .expect("a row");
    });
    check_open_fails(&dir, "has format 1, and this controller reads format 4");
    edit(&file, |transaction| {
        let mut meta = transaction.open_table(META).expect("the table");
        meta.remove("format").expect("a row");
    });
    check_open_fails(&dir, "is not a Scuttle store");
}

#[test]
fn a_file_of_another_program_is_rejected() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join(FILE_NAME);
    for content in [
        vec![],
        b"short".to_vec(),
        vec![0; 4096],
        vec![b'x'; 1 << 20],
    ] {
        fs::write(&file, &content).expect("a file");
        check_open_fails(&dir, "is not a Scuttle store");
        let after = fs::read(&file).expect("the file can be read");
        assert_eq!(after, content, "the file is left as it was");
    }
    fs::remove_file(&file).expect("the file is removed");
    drop(Database::create(&file).expect("another program's database"));
    check_open_fails(&dir, "is not a Scuttle store");
}

#[test]
fn a_row_that_cannot_be_decoded_is_named_in_the_error() {
    let (dir, file) = create_store();
    let whole = {
        let database = Database::open(&file).expect("the database opens");
        let transaction = database.begin_read().expect("a transaction");
        let shards = transaction.open_table(SHARDS).expect("the table");
        let row = shards.get(("a", "d7")).expect("a read").expect("the row");
        row.value().to_vec()
    };
    let longer = [whole.as_slice(), &[0]].concat();
    for row in [&[0xff; 40][..], &whole[..whole.len() - 1], &longer] {
        edit(&file, |transaction| {
            let mut shards = transaction.open_table(SHARDS).expect("the table");
            shards.insert(("a", "d7"), row).expect("a row");
        });
        check_open_fails(&dir, "is damaged (table shards, key a/d7: ");
    }
    edit(&file, |transaction| {
        let mut shards = transaction.open_table(SHARDS).expect("the table");
        shards.insert(("a", "d7"), whole.as_slice()).expect("a row");
        let mut journal = transaction.open_table(JOURNAL).expect("the table");
        journal.insert(9, [3, 77].as_slice()).expect("a row");
    });
    check_open_fails(&dir, "is damaged (table journal, key 9: ");
}

/// The bytes of a journal batch in format 4 with one change of each kind, escaped.
const BATCH: &str = concat!(
    r"\x08\x00\x03\x00\x00\x00\x00\x01\x01a\x06name-1\x00\x00\x01\x90\x90\xe8\xfa\xc0h\x00\xe8",
    r"\x07\x01\x050.1.0\x00\x00\x00\x00\x02\x01a\x01d\x01\x0810.0.0.1\x00\x00\x01\x01\x00\x00\",
    r"x90\x90\xe8\xfa\xc0h\x90\x90\xe8\xfa\xc0h\x02\x01\x00\x00\x00\x03\x01a\x01d\x04\x10\x00\",
    r"x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x01a\x04name\x00\x00\x08oper",
    r"ator\x00\x90\x90\xe8\xfa\xc0h\xd0\xb9\xef\xfa\xc0h\x00\x00\x01\x01\x90\x90\xe8\xfa\xc0h\",
    r"x00\x02\x01\x01d\x00\x00\x00\x00\x00\x05\x10\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
    r"\x00\x00\x00\x00\x01\x06\x08operator\x01k\x10\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x0",
    r"0\x00\x00\x00\x00\x02\x90\x90\xe8\xfa\xc0h\x10\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x",
    r"00\x00\x00\x00\x00\x01\x00\x01a\x04name\x00\x01\xd0\xb9\xef\xfa\xc0h\x07\x08operator\x01",
    r"k",
);

/// If this test fails, new controllers cannot open the stores of existing users. Give the changed
/// format a new number, and continue to read the old format.
#[test]
fn the_bytes_of_the_format_have_not_changed() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut store = RedbStore::open(dir.path()).expect("the store opens");
    let all = [
        meta(3),
        host("a", 1),
        shard("a", "d", 2),
        removed("a", "d"),
        operation("a", 1, 2),
        operation_removed(1),
        key("k", 2),
        key_removed("k"),
    ];
    store.append(&all).expect("an append");
    drop(store);
    let database = Database::open(dir.path().join(FILE_NAME)).expect("the database opens");
    let transaction = database.begin_read().expect("a transaction");
    let journal = transaction.open_table(JOURNAL).expect("the table");
    let batch = journal.get(0).expect("a read").expect("the batch");
    assert_eq!(batch.value().escape_ascii().to_string(), BATCH);
}

#[test]
fn a_shortened_file_is_rejected() {
    let (dir, file) = create_store();
    let whole = fs::read(&file).expect("the file can be read");
    for length in [
        1,
        100,
        320,
        4095,
        4096,
        8192,
        whole.len() / 2,
        whole.len() - 1,
    ] {
        fs::write(&file, &whole[..length]).expect("a shorter file");
        let error = open_error(&dir).to_string();
        assert!(error.contains(FILE_NAME), "{length} bytes: {error}");
        assert!(
            error.contains("restore a backup"),
            "{length} bytes: {error}"
        );
    }
    fs::write(&file, &whole).expect("the whole file");
    RedbStore::open(dir.path()).expect("the store opens");
}

/// A flipped bit in a used page is detected. A flipped bit elsewhere changes nothing. Neither
/// crashes the process.
#[test]
fn a_flipped_bit_is_detected_or_harmless() {
    let (dir, file) = create_store();
    let rows = load(&mut RedbStore::open(dir.path()).expect("the store opens"));
    let whole = fs::read(&file).expect("the file can be read");
    let mut rejected = 0;
    for at in (0..400).step_by(5).chain((400..whole.len()).step_by(4099)) {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x10;
        fs::write(&file, &flipped).expect("a damaged file");
        match RedbStore::open(dir.path()) {
            Err(_) => rejected += 1,
            Ok(mut store) => assert_eq!(load(&mut store), rows, "byte {at}"),
        }
    }
    assert!(rejected > 20, "{rejected} rejected");
}
