//! Damaged store files. A damaged file either loads exactly as it was written, or is rejected with
//! an error that names the file and says what to do. Only the last append before a kill may be
//! missing. A rejected file is not changed.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use proptest::prelude::*;
use redb::{Database, TableDefinition};
use scuttle_controller::store::{FILE_NAME, RedbStore, Store, StoreError};
use scuttle_core::Change;

use super::rows::{host, key, meta, operation, shard};

/// A store file and its content.
struct Stored {
    file: Vec<u8>,
    rows: Vec<Change>,
    /// The content of the store before the last append.
    before: Vec<Change>,
}

/// Two store files with the same content: of a store that was closed, and of a store that was open
/// when its process was killed.
static STORED: LazyLock<[Stored; 2]> = LazyLock::new(|| {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join(FILE_NAME);
    let mut store = RedbStore::open(dir.path()).expect("the store opens");
    let mut batch = vec![meta(1), host("a", 1), key("k", 1)];
    batch.extend((0..300).map(|decky| shard("a", &format!("d{decky}"), 1)));
    store.append(&batch).expect("an append");
    store.checkpoint(1).expect("a checkpoint");
    let before = super::rows::load(&mut store);
    store.append(&[operation("a", 1, 1)]).expect("an append");
    let rows = super::rows::load(&mut store);
    let killed = fs::read(&file).expect("the file can be read");
    drop(store);
    let closed = fs::read(&file).expect("the file can be read");
    [closed, killed].map(|file| Stored {
        file,
        rows: rows.clone(),
        before: before.clone(),
    })
});

/// The length in bytes of redb's header, which all other data depends on.
const HEADER_LENGTH: usize = 320;

/// Opens and loads a file with the content `bytes`, and checks that it is rejected or has the rows
/// of `stored`. If `killed` is true, the last append may be missing.
fn check(stored: &Stored, bytes: &[u8], killed: bool) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join(FILE_NAME);
    fs::write(&file, bytes).expect("a file");
    match load(dir.path()) {
        Ok(loaded) if loaded == stored.rows => {}
        // After a kill, an incomplete last commit is one that the kill interrupted.
        Ok(loaded) => assert!(killed && loaded == stored.before, "the rows differ"),
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains(&file.display().to_string()), "{text}");
            assert!(text.contains("restore a backup"), "{text}");
            let after = fs::read(&file).expect("the file can be read");
            assert!(after == bytes, "it was changed: {text}");
        }
    }
}

fn load(dir: &Path) -> Result<Vec<Change>, StoreError> {
    let mut rows = Vec::new();
    RedbStore::open(dir)?.load(&mut |change| {
        rows.push(change);
        Ok(())
    })?;
    Ok(rows)
}

/// Generates a position in a file.
fn any_position() -> impl Strategy<Value = prop::sample::Index> {
    any::<prop::sample::Index>()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn flipped_bits_are_detected_or_harmless(
        flips in prop::collection::vec((any_position(), any::<bool>(), 0..8_u32), 1..4),
    ) {
        for (stored, killed) in STORED.iter().zip([false, true]) {
            let mut bytes = stored.file.clone();
            for (at, in_header, bit) in &flips {
                let end = if *in_header { HEADER_LENGTH } else { bytes.len() };
                bytes[at.index(end)] ^= 1 << bit;
            }
            check(stored, &bytes, killed);
        }
    }

    #[test]
    fn a_truncated_file_is_rejected(at in any_position(), in_header: bool) {
        for (stored, killed) in STORED.iter().zip([false, true]) {
            let end = if in_header { HEADER_LENGTH } else { stored.file.len() };
            check(stored, &stored.file[..at.index(end)], killed);
        }
    }

    /// A page counts as lost when it is overwritten with one repeated byte or with another page.
    #[test]
    fn a_lost_page_is_detected_or_harmless(
        to in any_position(),
        what in prop_oneof![Just(None), any::<u8>().prop_map(Some)],
        from in any_position(),
    ) {
        const PAGE: usize = 4096;
        for (stored, killed) in STORED.iter().zip([false, true]) {
            let pages = stored.file.len() / PAGE;
            let page = |at: prop::sample::Index| at.index(pages) * PAGE..(at.index(pages) + 1) * PAGE;
            let mut bytes = stored.file.clone();
            match what {
                Some(byte) => bytes[page(to)].fill(byte),
                None => bytes.copy_within(page(from), page(to).start),
            }
            check(stored, &bytes, killed);
        }
    }
}

/// The file is the database of another program, or has an earlier or a later format. It is rejected
/// and not changed.
#[test]
fn a_valid_file_of_another_program_or_version_is_not_changed() {
    const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
    for format in [None, Some(1_u32), Some(77)] {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = dir.path().join(FILE_NAME);
        let database = Database::create(&file).expect("a database");
        let transaction = database.begin_write().expect("a transaction");
        if let Some(format) = format {
            let mut meta = transaction.open_table(META).expect("the table");
            let format = format.to_le_bytes();
            meta.insert("format", format.as_slice()).expect("a row");
        }
        transaction.commit().expect("a commit");
        drop(database);
        let before = fs::read(&file).expect("the file can be read");
        let error = load(dir.path())
            .expect_err("the file is rejected")
            .to_string();
        let words = match format {
            None => "is not a Scuttle store".to_owned(),
            Some(format) => format!("has format {format}, and this controller reads format"),
        };
        assert!(error.contains(&words), "{error}");
        assert!(error.contains(&file.display().to_string()), "{error}");
        let after = fs::read(&file).expect("the file can be read");
        assert!(before == after, "{format:?}: it was changed");
    }
}

#[test]
fn other_files_in_place_of_the_store_are_rejected() {
    let contents: [&[u8]; 6] = [
        b"",
        b"# a text file\n",
        b"SQLite format 3\0\x10\0\x01\x01\0",
        b"redb\x1a\x0a\xa9\x0d\x0a",
        &[0; 16_000],
        &[0xff; 16_000],
    ];
    for content in contents {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = dir.path().join(FILE_NAME);
        fs::write(&file, content).expect("a file");
        let error = load(dir.path())
            .expect_err("the file is rejected")
            .to_string();
        assert!(error.contains(&file.display().to_string()), "{error}");
        assert!(error.contains("restore a backup"), "{error}");
        assert_eq!(fs::read(&file).expect("the file can be read"), content);
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join(FILE_NAME);
    fs::create_dir(&file).expect("a directory");
    let error = load(dir.path())
        .expect_err("the file is rejected")
        .to_string();
    assert!(error.contains(&file.display().to_string()), "{error}");
    assert!(error.contains("check the path"), "{error}");
    assert!(file.is_dir());
}
