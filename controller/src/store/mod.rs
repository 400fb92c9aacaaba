//! Where the state's changes are made durable: the verbs, what can go wrong, and which row a change is
//! about. How bytes reach a disk is in `redb` and `codec`; `memory` is for tests. What the state means is
//! in `scuttle-core`: a store never looks into a row.

mod codec;
mod error;
mod full_export;
mod memory;
mod redb;
mod replicated;
mod snapshot;
pub mod snapshot_exchange;
mod staged_file;

use std::collections::BTreeMap;

use scuttle_core::{Change, KeyId, ReplayError};
use scuttle_schemas::{DeckyId, HostId, OperationId};

pub use codec::FORMAT;
pub use error::StoreError;
pub use full_export::FullExport;
pub use memory::{Fault, MemoryStore};
pub(crate) use redb::create_dir;
pub use redb::{FILE_NAME, RedbStore};
pub use replicated::{
    JetStream, JournalError, Message, ReplicatedStore, SequenceRange, SharedJournal, StreamJournal,
    place_rows, write_rows,
};
pub use snapshot::{Snapshot, Snapshots, StoredValue, Table};
pub use staged_file::{StagedFile, StagedStore};

/// A journal of batches, and rows that it is folded into from time to time.
///
/// One thread owns a store. After an error nothing is known about what is durable, so the store is to be
/// dropped and opened again.
pub trait Store: Send {
    /// Hands every stored change to `each`: the rows first (meta, hosts, shards, operations, keys), then the
    /// journal in its order.
    ///
    /// # Errors
    /// The store cannot be read, it is damaged, or `each` refuses a change.
    fn load(
        &mut self,
        each: &mut dyn FnMut(Change) -> Result<(), ReplayError>,
    ) -> Result<(), StoreError>;

    /// Makes one batch durable at the journal's end, all of it or nothing; no batch is written for no
    /// changes.
    ///
    /// # Errors
    /// The batch may or may not be durable.
    fn append(&mut self, changes: &[Change]) -> Result<(), StoreError>;

    /// Folds the journal's oldest batches, together at least `changes` changes if there are as many and
    /// never part of a batch, into the rows, and drops them from the journal, as one transaction. Answers
    /// how many changes are left in the journal.
    ///
    /// # Errors
    /// The store holds what it held or the whole checkpoint, which mean the same.
    fn checkpoint(&mut self, changes: usize) -> Result<usize, StoreError>;

    /// How many changes are in the journal.
    fn journal_len(&self) -> usize;
}

/// The row that a change is about. The order is that of `load`: table by table, each by its key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Meta,
    Host(HostId),
    Shard(HostId, DeckyId),
    Operation(OperationId),
    Idempotency(KeyId),
}

impl Key {
    fn of(change: &Change) -> Self {
        match change {
            Change::Meta(_) => Self::Meta,
            Change::Host(row) => Self::Host(row.host.clone()),
            Change::Shard(row) => Self::Shard(row.host.clone(), row.decky.clone()),
            Change::ShardRemoved { host, decky } => Self::Shard(host.clone(), decky.clone()),
            Change::Operation(row) => Self::Operation(row.id),
            Change::OperationRemoved { id } => Self::Operation(*id),
            Change::Key(row) => Self::Idempotency(row.id.clone()),
            Change::KeyRemoved { id } => Self::Idempotency(id.clone()),
        }
    }
}

/// Changes by the row that they are about: of several to one row, the last counts.
#[derive(Debug, Clone, Default)]
struct LatestChanges(BTreeMap<Key, Change>);

impl LatestChanges {
    fn take(&mut self, change: Change) {
        self.0.insert(Key::of(&change), change);
    }
}
