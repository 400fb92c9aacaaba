//! The guarantees of every store, on disk, in a stream and in memory: whatever was appended can be
//! loaded, no matter how often the store is checkpointed or reopened.

mod backup;
mod damage;
mod files;
mod formats;
mod measure;
mod nats;
mod rows;

use proptest::prelude::*;
use scuttle_controller::store::{Fault, MemoryStore, RedbStore, Store, StoreError};
use scuttle_core::{Change, RowCounts, State};
use tempfile::TempDir;

use rows::{
    host, key, key_removed, load, meta, operation, operation_removed, removed, rows_of, shard,
};

/// The part of a store that survives when the store is closed and reopened.
enum Disk {
    Redb(TempDir),
    Memory(MemoryStore),
    JetStream(TempDir, nats::Name),
}

impl Disk {
    fn redb() -> Self {
        Self::Redb(tempfile::tempdir().expect("a temporary directory"))
    }

    fn jetstream() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        Self::JetStream(dir, nats::Name::new())
    }

    fn open(&self) -> Box<dyn Store> {
        match self {
            Self::JetStream(dir, name) => {
                Box::new(nats::open(dir.path(), name).expect("the store opens"))
            }
            Self::Redb(dir) => Box::new(RedbStore::open(dir.path()).expect("the store opens")),
            Self::Memory(store) => Box::new(store.clone()),
        }
    }
}

/// Runs a test on each kind of store.
fn on_each(test: impl Fn(&Disk)) {
    test(&Disk::Memory(MemoryStore::default()));
    test(&Disk::redb());
    test(&Disk::jetstream());
}

#[test]
fn a_new_store_is_empty() {
    on_each(|disk| {
        let mut store = disk.open();
        assert_eq!(load(&mut *store), []);
        assert_eq!(store.checkpoint(10).expect("a checkpoint"), 0);
        assert_eq!(load(&mut *store), []);
    });
}

#[test]
fn appended_changes_are_loaded_in_order() {
    on_each(|disk| {
        let batches = [
            vec![host("a", 1), shard("a", "d1", 1), meta(1)],
            vec![],
            vec![removed("a", "d1"), operation("a", 1, 1), meta(2)],
        ];
        let mut store = disk.open();
        for batch in &batches {
            store.append(batch).expect("an append");
        }
        assert_eq!(store.journal_len(), 6);
        assert_eq!(load(&mut *store), batches.concat());
        drop(store);

        let mut store = disk.open();
        assert_eq!(store.journal_len(), 6);
        assert_eq!(load(&mut *store), batches.concat());
    });
}

#[test]
fn rows_are_loaded_by_table_and_key_before_the_journal() {
    on_each(|disk| {
        let mut store = disk.open();
        store
            .append(&[
                host("ab", 1),
                host("a", 1),
                // Sorted by host first: "a-" sorts before "a/" as text.
                shard("ab", "a", 1),
                shard("a", "z", 1),
                shard("a", "b", 1),
                operation("a", 2, 1),
                operation("a", 1, 1),
                key("k", 1),
                meta(1),
            ])
            .expect("an append");
        assert_eq!(store.checkpoint(1).expect("a checkpoint"), 0);
        store.append(&[shard("a", "b", 2)]).expect("an append");
        assert_eq!(
            load(&mut *store),
            [
                meta(1),
                host("a", 1),
                host("ab", 1),
                shard("a", "b", 1),
                shard("a", "z", 1),
                shard("ab", "a", 1),
                operation("a", 1, 1),
                operation("a", 2, 1),
                key("k", 1),
                shard("a", "b", 2),
            ]
        );
    });
}

#[test]
fn a_checkpoint_moves_complete_batches_starting_with_the_oldest() {
    on_each(|disk| {
        let mut store = disk.open();
        for version in 1..=4 {
            store
                .append(&[host("a", version), shard("a", "d", version), meta(version)])
                .expect("an append");
        }
        assert_eq!(store.checkpoint(0).expect("a checkpoint"), 12);
        assert_eq!(store.checkpoint(1).expect("a checkpoint"), 9);
        assert_eq!(
            load(&mut *store)[..3],
            [meta(1), host("a", 1), shard("a", "d", 1)]
        );
        assert_eq!(store.checkpoint(4).expect("a checkpoint"), 3);
        drop(store);

        let mut store = disk.open();
        assert_eq!(store.journal_len(), 3);
        assert_eq!(
            load(&mut *store)[..3],
            [meta(3), host("a", 3), shard("a", "d", 3)]
        );
        assert_eq!(store.checkpoint(usize::MAX).expect("a checkpoint"), 0);
        assert_eq!(
            load(&mut *store),
            [meta(4), host("a", 4), shard("a", "d", 4)]
        );
        store.append(&[meta(5)]).expect("an append");
        assert_eq!(store.journal_len(), 1);
    });
}

#[test]
fn a_removed_shard_is_gone_and_can_be_added_again() {
    on_each(|disk| {
        let mut store = disk.open();
        let steps = [
            (shard("a", "d", 1), vec![shard("a", "d", 1)]),
            (removed("a", "d"), vec![]),
            (shard("a", "d", 2), vec![shard("a", "d", 2)]),
            (removed("a", "never-there"), vec![shard("a", "d", 2)]),
        ];
        for (change, rows) in steps {
            store.append(&[change]).expect("an append");
            store.checkpoint(1).expect("a checkpoint");
            assert_eq!(load(&mut *store), rows);
        }
    });
}

#[test]
fn a_state_is_restored_and_a_row_without_its_host_is_rejected() {
    on_each(|disk| {
        let mut store = disk.open();
        store
            .append(&[host("a", 1), shard("a", "d", 1)])
            .expect("an append");
        let mut state = State::default();
        store
            .load(&mut |change| state.replay(change))
            .expect("the state is restored");
        let expected = RowCounts {
            hosts: 1,
            shards: 1,
            open_operations: 0,
        };
        assert_eq!(state.row_counts(), expected);

        store.append(&[shard("b", "d", 1)]).expect("an append");
        let mut state = State::default();
        let error = store
            .load(&mut |change| state.replay(change))
            .expect_err("host b is missing");
        assert!(matches!(error, StoreError::Replay { .. }), "{error}");
    });
}

#[test]
fn a_store_in_memory_fails_on_demand() {
    for (fault, kept) in [(Fault::Lost, vec![]), (Fault::Kept, vec![meta(1)])] {
        let disk = MemoryStore::default();
        let mut store = disk.clone();
        disk.fail_next(fault);
        store.append(&[meta(1)]).expect_err("the append fails");
        assert_eq!(load(&mut disk.clone()), kept);
        store.append(&[meta(2)]).expect("only one append fails");
    }
}

/// An action on a store.
#[derive(Debug, Clone)]
enum Action {
    Append(Vec<Change>),
    Checkpoint(usize),
    Reopen,
}

fn any_change() -> impl Strategy<Value = Change> {
    let host_name = || prop::sample::select(vec!["a", "a-", "b"]);
    let decky = || prop::sample::select(vec!["d", "d.1", "e"]);
    let key_name = || prop::sample::select(vec!["k", "k 2", "ä"]);
    prop_oneof![
        1 => any::<u64>().prop_map(meta),
        2 => (host_name(), any::<u64>()).prop_map(|(name, version)| host(name, version)),
        4 => (host_name(), decky(), any::<u64>()).prop_map(|(name, decky, version)| shard(name, decky, version)),
        3 => (host_name(), decky()).prop_map(|(name, decky)| removed(name, decky)),
        2 => (host_name(), 0..3_u64, any::<u64>()).prop_map(|(name, id, version)| operation(name, id, version)),
        1 => (0..3_u64).prop_map(operation_removed),
        2 => (key_name(), any::<u64>()).prop_map(|(name, version)| key(name, version)),
        1 => key_name().prop_map(key_removed),
    ]
}

fn any_action() -> impl Strategy<Value = Action> {
    prop_oneof![
        6 => prop::collection::vec(any_change(), 0..6).prop_map(Action::Append),
        2 => (0..12_usize).prop_map(Action::Checkpoint),
        1 => Just(Action::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Checkpoints and restarts at arbitrary moments do not change the content.
    #[test]
    fn a_store_has_the_content_of_a_plain_map(acts in prop::collection::vec(any_action(), 1..24)) {
        for disk in [Disk::Memory(MemoryStore::default()), Disk::redb(), Disk::jetstream()] {
            let mut store = disk.open();
            let mut appended = Vec::new();
            for act in acts.clone() {
                match act {
                    Action::Append(batch) => {
                        store.append(&batch).expect("an append");
                        appended.extend(batch);
                    }
                    Action::Checkpoint(changes) => {
                        let before = store.journal_len();
                        let left = store.checkpoint(changes).expect("a checkpoint");
                        prop_assert!(left <= before.saturating_sub(changes));
                    }
                    Action::Reopen => {
                        drop(store);
                        store = disk.open();
                    }
                }
                prop_assert_eq!(rows_of(load(&mut *store)), rows_of(appended.clone()));
            }
        }
    }
}
