//! The ledger: the facts that an agent must remember across a crash, and the trait for their
//! storage.

mod disk_ledger;
mod entry;
mod error;
pub mod ledger_file;
mod line_format;
pub mod memory_ledger;

pub use disk_ledger::DiskLedger;
pub use entry::{Entry, FinishedTeardown, StartedTeardown};
pub use error::LedgerError;

/// An append-only list of entries that survives a crash of the agent.
pub trait Ledger: Send + 'static {
    /// Returns all entries in the order in which they were appended.
    ///
    /// # Errors
    /// If the ledger cannot be read, is damaged, belongs to another host, or has an unknown format.
    fn load(&mut self) -> Result<Vec<Entry>, LedgerError>;

    /// Appends entries, which are durable when the call returns.
    ///
    /// # Errors
    /// If the entries could not be made durable. The content of the ledger is then unknown, and the
    /// ledger must not be used again before the next start.
    fn append(&mut self, entries: &[Entry]) -> Result<(), LedgerError>;

    /// Returns whether the ledger has grown so much that it should be rewritten.
    fn needs_rewrite(&self) -> bool;

    /// Returns whether the other methods wait for a disk and so must not run on an async thread.
    fn is_blocking(&self) -> bool {
        true
    }

    /// Replaces all entries atomically.
    ///
    /// # Errors
    /// If the new entries could not be made durable. The ledger then has either the old entries or
    /// the new ones. It must not be used again before the next start.
    fn rewrite(&mut self, entries: &[Entry]) -> Result<(), LedgerError>;

    /// Returns whether a restarted agent would find the ledger. Returns false if the file or the
    /// directory of the ledger was removed.
    ///
    /// # Errors
    /// If the file system cannot be checked.
    fn is_in_place(&mut self) -> Result<bool, LedgerError> {
        Ok(true)
    }

    /// Recreates a removed ledger with these entries.
    ///
    /// # Errors
    /// If the ledger cannot be written, or another agent has locked the directory in the meantime.
    fn recreate(&mut self, entries: &[Entry]) -> Result<(), LedgerError> {
        self.rewrite(entries)
    }
}

impl<L: Ledger + ?Sized> Ledger for Box<L> {
    fn load(&mut self) -> Result<Vec<Entry>, LedgerError> {
        (**self).load()
    }

    fn append(&mut self, entries: &[Entry]) -> Result<(), LedgerError> {
        (**self).append(entries)
    }

    fn needs_rewrite(&self) -> bool {
        (**self).needs_rewrite()
    }

    fn is_blocking(&self) -> bool {
        (**self).is_blocking()
    }

    fn rewrite(&mut self, entries: &[Entry]) -> Result<(), LedgerError> {
        (**self).rewrite(entries)
    }

    fn is_in_place(&mut self) -> Result<bool, LedgerError> {
        (**self).is_in_place()
    }

    fn recreate(&mut self, entries: &[Entry]) -> Result<(), LedgerError> {
        (**self).recreate(entries)
    }
}
