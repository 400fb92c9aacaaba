//! A ledger in memory, for tests and simulations. Clones share the entries, so that a restarted
//! agent finds what the previous one appended.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Ledger;
use super::entry::Entry;
use super::error::LedgerError;

/// The number of entries up to which no rewrite is requested.
const REWRITE_ENTRIES: usize = 1024;

/// A ledger in memory. Clones share the entries.
#[derive(Debug, Clone, Default)]
pub struct MemoryLedger(Arc<Mutex<Content>>);

#[derive(Debug, Default)]
struct Content {
    entries: Vec<Entry>,
    /// The number of entries after the last rewrite, or 0 before the first.
    rewritten_to: usize,
}

impl MemoryLedger {
    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ledger for MemoryLedger {
    fn load(&mut self) -> Result<Vec<Entry>, LedgerError> {
        Ok(self.content().entries.clone())
    }

    fn append(&mut self, entries: &[Entry]) -> Result<(), LedgerError> {
        self.content().entries.extend_from_slice(entries);
        Ok(())
    }

    fn needs_rewrite(&self) -> bool {
        let content = self.content();
        content.entries.len() > REWRITE_ENTRIES.max(2 * content.rewritten_to)
    }

    fn is_blocking(&self) -> bool {
        false
    }

    fn rewrite(&mut self, entries: &[Entry]) -> Result<(), LedgerError> {
        let mut content = self.content();
        content.entries = entries.to_vec();
        content.rewritten_to = entries.len();
        Ok(())
    }
}
