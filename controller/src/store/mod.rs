//! Durable storage for the core's changes: the trait `Store`, its errors, and the row that a change
//! belongs to. `redb` and `codec` write to disk, `replicated` keeps the journal in a JetStream
//! stream, and `memory` is for tests. A store never looks inside a row: `scuttle-core` gives rows
//! their meaning.

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

pub use codec::{FORMAT, StreamPosition};
pub use error::StoreError;
pub use full_export::FullExport;
pub use memory::{Fault, MemoryStore};
pub(crate) use redb::create_dir;
pub use redb::{FILE_NAME, RedbStore};
pub use replicated::{
    JournalError, JournalStream, Message, ReplicatedStore, SequenceRange, SharedJournal,
    StreamJournal, export_rows, install_rows,
};
pub use snapshot::{Snapshot, Snapshots, StoredValue, Table};
pub use staged_file::{StagedFile, StagedStore};

/// A journal of batches and the rows that checkpoints fold the journal into.
///
/// One thread owns a store. After an error it is unknown what is durable, so the owner must drop
/// the store and open it again.
///
/// # Examples
///
/// ```
/// use scuttle_controller::store::{MemoryStore, Store};
/// use scuttle_core::{Change, Meta};
///
/// let change = Change::Meta(Meta { epoch: 7, ..Meta::default() });
/// let mut store = MemoryStore::default();
/// store.append(&[change.clone()])?;
/// assert_eq!(store.journal_len(), 1);
///
/// // A checkpoint moves the journal to the rows, and a load returns the same changes as before.
/// assert_eq!(store.checkpoint(usize::MAX)?, 0);
/// let mut loaded = Vec::new();
/// store.load(&mut |change| {
///     loaded.push(change);
///     Ok(())
/// })?;
/// assert_eq!(loaded, [change]);
/// # Ok::<_, scuttle_controller::store::StoreError>(())
/// ```
pub trait Store: Send {
    /// Calls `each` with every stored change: first the rows (meta, hosts, shards, operations,
    /// keys), then the journal in order.
    ///
    /// # Errors
    /// If the store cannot be read or is damaged, or if `each` rejects a change.
    fn load(
        &mut self,
        each: &mut dyn FnMut(Change) -> Result<(), ReplayError>,
    ) -> Result<(), StoreError>;

    /// Appends one batch to the journal and makes it durable, completely or not at all. Writes
    /// nothing if `changes` is empty.
    ///
    /// # Errors
    /// If the append fails. The batch may or may not be durable then.
    fn append(&mut self, changes: &[Change]) -> Result<(), StoreError>;

    /// Moves the journal's oldest batches into the rows in one transaction, and returns the number
    /// of changes that remain in the journal. Takes whole batches until they hold at least
    /// `changes` changes or the journal is empty.
    ///
    /// # Errors
    /// If the transaction fails. The store then holds either its old content or the complete
    /// checkpoint; both describe the same state.
    fn checkpoint(&mut self, changes: usize) -> Result<usize, StoreError>;

    /// Returns the number of changes in the journal.
    fn journal_len(&self) -> usize;
}

/// The key of the row that a change belongs to, ordered as [`Store::load`] orders rows: by table,
/// then by key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum RowKey {
    Meta,
    Host(HostId),
    Shard(HostId, DeckyId),
    Operation(OperationId),
    Idempotency(KeyId),
}

impl RowKey {
    fn from_change(change: &Change) -> Self {
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

/// The latest change to each row.
#[derive(Debug, Clone, Default)]
struct LatestChanges(BTreeMap<RowKey, Change>);

impl LatestChanges {
    fn insert(&mut self, change: Change) {
        self.0.insert(RowKey::from_change(&change), change);
    }

    /// Drops the changes that remove a row, so that only existing rows are left.
    fn discard_removals(&mut self) {
        self.0.retain(|_, change| !is_removal(change));
    }
}

fn is_removal(change: &Change) -> bool {
    matches!(
        change,
        Change::ShardRemoved { .. } | Change::OperationRemoved { .. } | Change::KeyRemoved { .. }
    )
}
