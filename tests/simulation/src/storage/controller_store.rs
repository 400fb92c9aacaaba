//! The controller's store: a local redb store, or local rows and a journal that several controllers
//! share. Records all loaded and appended changes for the oracle.

use std::path::Path;
use std::time::Duration;

use scuttle_controller::store::{RedbStore, ReplicatedStore, Store, StoreError};
use scuttle_core::{Change, ReplayError, State};

use crate::storage::disk::Disk;
use crate::storage::nats_servers::JournalClient;

/// The store of one controller process.
pub(crate) struct ControllerStore {
    backend: Backend,
    /// The changes that the last load returned.
    loaded: Vec<Change>,
    /// The changes that were passed to `append` and that the oracle has not seen yet.
    appended: Vec<Change>,
}

enum Backend {
    Local(RedbStore),
    Shared(ReplicatedStore<JournalClient>),
}

impl ControllerStore {
    pub(crate) fn open(disk: &Disk, journal: Option<JournalClient>) -> Result<Self, StoreError> {
        let rows = RedbStore::open_backend(disk.open(), Path::new("simulated"))?;
        let backend = match journal {
            None => Backend::Local(rows),
            Some(journal) => Backend::Shared(ReplicatedStore::from_parts(rows, journal)?),
        };
        Ok(Self {
            backend,
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

    /// Applies the next message of the shared journal. Returns whether there was a message.
    pub(crate) fn apply_next(&mut self, state: &mut State) -> Result<bool, StoreError> {
        match &mut self.backend {
            Backend::Local(_) => Ok(false),
            Backend::Shared(store) => {
                store.apply_next(Duration::ZERO, &mut |change| state.replay(change))
            }
        }
    }

    /// Applies all remaining messages of the shared journal.
    pub(crate) fn catch_up(&mut self, state: &mut State) -> Result<(), StoreError> {
        match &mut self.backend {
            Backend::Local(_) => Ok(()),
            Backend::Shared(store) => store.catch_up(&mut |change| state.replay(change)),
        }
    }

    fn backend(&mut self) -> &mut dyn Store {
        match &mut self.backend {
            Backend::Local(store) => store,
            Backend::Shared(store) => store,
        }
    }
}

impl Store for ControllerStore {
    fn load(
        &mut self,
        each: &mut dyn FnMut(Change) -> Result<(), ReplayError>,
    ) -> Result<(), StoreError> {
        let mut loaded = Vec::new();
        let done = self.backend().load(&mut |change| {
            loaded.push(change.clone());
            each(change)
        });
        self.loaded = loaded;
        done
    }

    fn append(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        self.appended.extend_from_slice(changes);
        self.backend().append(changes)
    }

    fn checkpoint(&mut self, changes: usize) -> Result<usize, StoreError> {
        self.backend().checkpoint(changes)
    }

    fn verify(&mut self) -> Result<(), StoreError> {
        self.backend().verify()
    }

    fn journal_len(&self) -> usize {
        match &self.backend {
            Backend::Local(store) => store.journal_len(),
            Backend::Shared(store) => store.journal_len(),
        }
    }
}
