//! A store for tests: it outlives the process that a test pretends to kill, and fails on order.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use scuttle_core::{Change, ReplayError};

use super::{LatestChanges, Store, StoreError};

/// How an append fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing of the batch is stored.
    Lost,
    /// The whole batch is stored, and only the answer is an error.
    Kept,
}

/// A store in memory. Clones share what is stored: one that is kept is the disk that survives.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore(Arc<Mutex<Content>>);

#[derive(Debug, Default)]
struct Content {
    rows: LatestChanges,
    journal: VecDeque<Vec<Change>>,
    /// What becomes of the next append, if it is not to succeed.
    fault: Option<Fault>,
}

impl MemoryStore {
    /// Lets the next append fail.
    pub fn fail_next(&self, fault: Fault) {
        self.content().fault = Some(fault);
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        // A test that panicked elsewhere is what failed, not this.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Content {
    fn len(&self) -> usize {
        self.journal.iter().map(Vec::len).sum()
    }
}

fn is_removal(change: &Change) -> bool {
    matches!(
        change,
        Change::ShardRemoved { .. } | Change::OperationRemoved { .. } | Change::KeyRemoved { .. }
    )
}

impl Store for MemoryStore {
    fn load(
        &mut self,
        each: &mut dyn FnMut(Change) -> Result<(), ReplayError>,
    ) -> Result<(), StoreError> {
        let content = self.content();
        (content.rows.0.values())
            .chain(content.journal.iter().flatten())
            .try_for_each(|change| each(change.clone()))
            .map_err(|cause| StoreError::Replay {
                path: PathBuf::from("the store in memory"),
                cause,
            })
    }

    fn append(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        let mut content = self.content();
        let fault = content.fault.take();
        if fault != Some(Fault::Lost) && !changes.is_empty() {
            content.journal.push_back(changes.to_vec());
        }
        fault.map_or(Ok(()), |_| Err(StoreError::Ordered))
    }

    fn checkpoint(&mut self, changes: usize) -> Result<usize, StoreError> {
        let content = &mut *self.content();
        let mut taken = 0;
        while taken < changes
            && let Some(batch) = content.journal.pop_front()
        {
            taken += batch.len();
            for change in batch {
                content.rows.take(change);
            }
        }
        content.rows.0.retain(|_, change| !is_removal(change));
        Ok(content.len())
    }

    fn journal_len(&self) -> usize {
        self.content().len()
    }
}
