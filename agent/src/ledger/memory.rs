//! A ledger in memory, for tests and simulations: what one agent wrote is there for the next one that
//! is given a clone of it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Entry, Ledger, LedgerError};

/// How many entries it takes before it asks to be rewritten.
const LONG: usize = 1024;

/// Entries in memory; clones share them.
#[derive(Debug, Clone, Default)]
pub struct MemoryLedger(Arc<Mutex<Content>>);

#[derive(Debug, Default)]
struct Content {
    entries: Vec<Entry>,
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

    fn is_long(&self) -> bool {
        let content = self.content();
        content.entries.len() > LONG.max(2 * content.rewritten_to)
    }

    fn waits(&self) -> bool {
        false
    }

    fn rewrite(&mut self, entries: &[Entry]) -> Result<(), LedgerError> {
        let mut content = self.content();
        content.entries = entries.to_vec();
        content.rewritten_to = entries.len();
        Ok(())
    }
}
