//! The trait `Store`: durable storage for the core's changes.

use scuttle_core::{Change, ReplayError};

use crate::store::error::StoreError;

/// Durable storage for the core's changes: a journal of batches, and the rows into which
/// checkpoints move the journal.
///
/// One thread owns a store. After an error it is unknown which changes are durable, so the owner
/// must drop the store and open it again.
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
    /// If the append fails. It is then unknown whether the batch is durable.
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

    /// Checks, without blocking for long, that a shared journal still contains everything that is
    /// known to have been in it. Called at least twice a second.
    ///
    /// # Errors
    /// If the journal has lost accepted changes. The changes are in this store and in its rows
    /// after the next checkpoint.
    fn verify(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Returns the number of messages of a shared journal that were skipped since it was opened,
    /// because no controller has written them.
    fn foreign_messages(&self) -> u64 {
        0
    }

    /// Returns whether a checkpoint should be made although the journal is short.
    fn is_checkpoint_due(&self) -> bool {
        false
    }
}
