//! An in-memory store for tests. It survives a simulated crash of the process, and its appends fail
//! on request.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use scuttle_core::{Change, ReplayError};

use crate::store::error::StoreError;
use crate::store::latest_changes::LatestChanges;
use crate::store::store_trait::Store;

/// The way in which an append fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The batch is not stored.
    Lost,
    /// The complete batch is stored, although the append returns an error.
    Kept,
}

/// A store in memory. Clones share their content, so a clone acts as the disk that survives a
/// crash.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore(Arc<Mutex<Content>>);

#[derive(Debug, Default)]
struct Content {
    rows: LatestChanges,
    journal: VecDeque<Vec<Change>>,
    /// The fault of the next append, if the append should fail.
    fault: Option<Fault>,
}

impl MemoryStore {
    /// Makes the next append fail.
    pub fn fail_next(&self, fault: Fault) {
        self.content().fault = Some(fault);
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        // A panic elsewhere has already failed the test; do not add a second failure.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Content {
    fn len(&self) -> usize {
        self.journal.iter().map(Vec::len).sum()
    }
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
        fault.map_or(Ok(()), |_| Err(StoreError::Injected))
    }

    fn checkpoint(&mut self, changes: usize) -> Result<usize, StoreError> {
        let content = &mut *self.content();
        let mut taken = 0;
        while taken < changes
            && let Some(batch) = content.journal.pop_front()
        {
            taken += batch.len();
            for change in batch {
                content.rows.insert(change);
            }
        }
        content.rows.discard_removals();
        Ok(content.len())
    }

    fn journal_len(&self) -> usize {
        self.content().len()
    }
}
