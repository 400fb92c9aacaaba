//! Where a controller keeps its record: in a store of its own, or in rows of its own and a journal that it shares. What is
//! loaded and appended is shown to the oracle.

use std::path::Path;
use std::time::Duration;

use scuttle_controller::store::{RedbStore, ReplicatedStore, Store, StoreError};
use scuttle_core::{Change, ReplayError, State};

use crate::disk::Disk;
use crate::servers::Journal;

/// The store of one run.
pub(crate) struct Kept {
    store: Either,
    /// What was loaded last.
    loaded: Vec<Change>,
    /// What was to be appended, and is not yet judged.
    appended: Vec<Change>,
}

enum Either {
    Own(RedbStore),
    Shared(ReplicatedStore<Journal>),
}

impl Kept {
    pub(crate) fn open(disk: &Disk, journal: Option<Journal>) -> Result<Self, StoreError> {
        let rows = RedbStore::over(disk.open(), Path::new("simulated"))?;
        let store = match journal {
            None => Either::Own(rows),
            Some(journal) => Either::Shared(ReplicatedStore::over(rows, journal)?),
        };
        Ok(Self {
            store,
            loaded: Vec::new(),
            appended: Vec::new(),
        })
    }

    pub(crate) fn take_loaded(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.loaded)
    }

    pub(crate) fn take_appended(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.appended)
    }

    /// Applies the next message of a shared journal; whether there was one.
    pub(crate) fn follow(&mut self, state: &mut State) -> Result<bool, StoreError> {
        match &mut self.store {
            Either::Own(_) => Ok(false),
            Either::Shared(store) => {
                store.follow(Duration::ZERO, &mut |change| state.replay(change))
            }
        }
    }

    /// Applies all that a shared journal has.
    pub(crate) fn catch_up(&mut self, state: &mut State) -> Result<(), StoreError> {
        match &mut self.store {
            Either::Own(_) => Ok(()),
            Either::Shared(store) => store.catch_up(&mut |change| state.replay(change)),
        }
    }

    fn store(&mut self) -> &mut dyn Store {
        match &mut self.store {
            Either::Own(store) => store,
            Either::Shared(store) => store,
        }
    }
}

impl Store for Kept {
    fn load(
        &mut self,
        each: &mut dyn FnMut(Change) -> Result<(), ReplayError>,
    ) -> Result<(), StoreError> {
        let mut loaded = Vec::new();
        let done = self.store().load(&mut |change| {
            loaded.push(change.clone());
            each(change)
        });
        self.loaded = loaded;
        done
    }

    fn append(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        self.appended.extend_from_slice(changes);
        self.store().append(changes)
    }

    fn checkpoint(&mut self, changes: usize) -> Result<usize, StoreError> {
        self.store().checkpoint(changes)
    }

    fn journal_len(&self) -> usize {
        match &self.store {
            Either::Own(store) => store.journal_len(),
            Either::Shared(store) => store.journal_len(),
        }
    }
}
