//! Checks that a database of each released format can still be opened and contains the expected
//! rows. The databases are in `controller/tests/fixtures/`, each with its complete content as text
//! next to it. Formats 1 and 2 were never released. They are rejected, which `damage` tests for
//! format 1.
//!
//! When the format changes, add a fixture of the new format, and keep the old ones: `cargo test -p
//! scuttle-controller --test internals write_a_fixture -- --ignored`

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{Database, ReadableDatabase, TableDefinition};
use scuttle_controller::store::{FILE_NAME, RedbStore, Snapshot, Store, StoreError};
use scuttle_core::record::rows::EvidenceRow;
use scuttle_core::{Change, OutcomeRow, ReportId, Revisions};
use scuttle_schemas::agents::Evidence;
use scuttle_schemas::operations::{OperationState, ShardOutcome};
use scuttle_schemas::shards::ShardState;
use scuttle_schemas::{BootId, Labels, Note, OperationId, Services, Text, Timestamp};
use uuid::Uuid;

use super::rows::{host, key, key_removed, meta, operation, operation_removed, removed, shard};

/// The numbers of all released formats, oldest first.
const RELEASED: [u32; 2] = [3, 4];

const AT: i64 = 1_795_425_109_000;

fn fixture(format: u32, extension: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    folder.join(format!("format-{format}.{extension}"))
}

/// Returns the content of a store as text, with one line for each change.
fn content(store: &mut dyn Store) -> String {
    let mut text = String::new();
    for change in super::rows::load(store) {
        writeln!(text, "{change:?}").expect("writing to a string succeeds");
    }
    text
}

#[test]
fn every_released_format_can_be_opened() {
    for format in RELEASED {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = dir.path().join(FILE_NAME);
        fs::copy(fixture(format, "redb"), &file).expect("the fixture is there");
        let mut store = RedbStore::open(dir.path()).expect("the store opens");
        let expected = fs::read_to_string(fixture(format, "txt"))
            .expect("the text of the fixture is readable");
        assert_eq!(content(&mut store), expected, "format {format}");
        // The store can append after that.
        store.append(&[meta(9)]).expect("an append");
        store.checkpoint(usize::MAX).expect("a checkpoint");
        drop(store);
        let mut store = RedbStore::open(dir.path()).expect("the store opens");
        assert!(content(&mut store).starts_with("Meta(Meta { epoch: 9,"));
    }
}

/// A backup may have an earlier format. It is read without a change to the file.
#[test]
fn a_snapshot_of_an_earlier_format_has_the_same_content() {
    for format in RELEASED {
        let file = fixture(format, "redb");
        let before = fs::read(&file).expect("the fixture is readable");
        let snapshot = Snapshot::open_file(&file).expect("the snapshot opens");
        let mut text = String::new();
        let read = snapshot.for_each_value(|value, _| {
            for change in value.changes() {
                writeln!(text, "{change:?}").expect("writing to a string succeeds");
            }
            Ok::<_, StoreError>(())
        });
        read.expect("the snapshot is readable");
        let expected = fs::read_to_string(fixture(format, "txt"))
            .expect("the text of the fixture is readable");
        assert_eq!(text, expected, "format {format}");
        assert!(fs::read(&file).expect("the fixture is readable") == before);
    }
}

#[test]
fn the_current_format_has_a_fixture() {
    const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
    let dir = tempfile::tempdir().expect("a temporary directory");
    drop(RedbStore::open(dir.path()).expect("the store opens"));
    let database = Database::open(dir.path().join(FILE_NAME)).expect("the database opens");
    let transaction = database.begin_read().expect("a transaction");
    let meta = transaction.open_table(META).expect("the table");
    let format = meta.get("format").expect("a read").expect("the format");
    let format = u32::from_le_bytes(format.value().try_into().expect("four bytes"));
    assert_eq!(
        RELEASED.last(),
        Some(&format),
        "the current format has no fixture"
    );
}

#[test]
#[ignore = "writes a fixture: only when there is a new format"]
fn write_a_fixture() {
    let format = *RELEASED.last().expect("one");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut store = RedbStore::open(dir.path()).expect("the store opens");
    let [rows, journal] = changes_of_every_kind();
    store.append(&rows).expect("an append");
    store.checkpoint(usize::MAX).expect("a checkpoint");
    for batch in journal.chunks(3) {
        store.append(batch).expect("an append");
    }
    let text = content(&mut store);
    drop(store);
    let redb = fixture(format, "redb");
    fs::create_dir_all(redb.parent().expect("a folder")).expect("the folder");
    fs::copy(dir.path().join(FILE_NAME), redb).expect("the fixture is written");
    fs::write(fixture(format, "txt"), text).expect("the text is written");
}

/// Creates the changes for a fixture: first those for the rows, then those for the journal.
/// Together they contain every kind of change, both with every field set and with optional fields
/// empty.
fn changes_of_every_kind() -> [Vec<Change>; 2] {
    let rows = vec![
        meta(1),
        host("a", 1),
        fill_fields(host("b-_9", 2)),
        shard("a", "d", 1),
        fill_fields(shard("b-_9", "e.2", 2)),
        operation("a", 1, 1),
        fill_fields(operation("b-_9", 2, 2)),
        key("k", 1),
        fill_fields(key("é", 2)),
    ];
    let journal = vec![
        fill_fields(meta(3)),
        removed("a", "d"),
        fill_fields(shard("a", "f", 3)),
        key_removed("k"),
        operation_removed(1),
        fill_fields(operation("a", 3, 3)),
        fill_fields(key("l", 3)),
        fill_fields(host("c", 3)),
    ];
    [rows, journal]
}

/// Sets every optional field of a change.
fn fill_fields(change: Change) -> Change {
    let labels = || {
        let label = ("role".to_owned(), "lure ü".to_owned());
        Labels::try_from(
            [label]
                .into_iter()
                .collect::<std::collections::BTreeMap<_, _>>(),
        )
        .expect("labels")
    };
    let at = |seconds: i64| Timestamp::from_millis(AT + 1000 * seconds);
    let error = || Some(Text::from("container busy"));
    match change {
        Change::Meta(mut row) => {
            row.revisions = Revisions {
                shards: 300,
                hosts: 1 << 40,
                operations: u64::MAX,
            };
            row.record = Some(Uuid::from_u128(9));
            Change::Meta(row)
        }
        Change::Host(mut row) => {
            row.address = Some("10.0.0.9:22".to_owned());
            row.labels = labels();
            row.last_heartbeat = Some(at(1));
            row.inventory_error = error();
            row.applied = Some(ReportId {
                boot: BootId(Uuid::from_u128(7)),
                sequence: 42,
            });
            row.notes = vec![Note::from("project trap2 has no label")];
            row.protected = true;
            Change::Host(row)
        }
        Change::Shard(row) => {
            let mut row = Arc::unwrap_or_clone(row);
            let services = vec!["ssh".to_owned(), "http".to_owned()];
            row.services = Services::try_from(services).expect("services");
            row.labels = labels();
            row.state = ShardState::TeardownFailed;
            row.last_error = error();
            row.operation = Some(OperationId(Uuid::from_u128(2)));
            row.deployment = Some("3f2a".parse().expect("a deployment"));
            row.first_listed_in = Some(ReportId {
                boot: BootId(Uuid::from_u128(7)),
                sequence: 41,
            });
            row.protected = true;
            Change::Shard(Arc::new(row))
        }
        Change::Operation(row) => {
            let mut row = Arc::unwrap_or_clone(row);
            row.decky = Some("e.2".parse().expect("a decky"));
            row.state = OperationState::TimedOut;
            row.reason = Some("rotating lures".to_owned());
            row.started_at = Some(at(2));
            row.finished_at = Some(at(3));
            row.error = error();
            row.trace = Some("00-4bf9-01".into());
            row.outcomes = vec![OutcomeRow {
                decky: "e.2".parse().expect("a decky"),
                outcome: ShardOutcome::Failed,
                error: error(),
            }];
            row.override_protection = true;
            row.evidence = vec![EvidenceRow {
                decky: "e.2".parse().expect("a decky"),
                evidence: Evidence {
                    path: "/var/lib/scuttle-agent/evidence/e.2.tar.zst".to_owned(),
                    bytes: 18_211,
                    sha256: "0f".repeat(32),
                },
            }];
            Change::Operation(Arc::new(row))
        }
        Change::Key(mut row) => {
            row.joined = true;
            row.decky = Some("e.2".parse().expect("a decky"));
            Change::Key(row)
        }
        other => other,
    }
}
