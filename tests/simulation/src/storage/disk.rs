//! The controller's disk, under redb. It consists of pages that are durable after they have been
//! synced. A kill keeps everything that was written. After a power loss, each page that was not
//! synced has its old content, its new content, or a mix of sectors from both.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{Error, ErrorKind};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use redb::StorageBackend;
use scuttle_controller::store::RedbStore;

use crate::seed::seeded_rng::SeededRng;

const PAGE: usize = 4096;
const SECTOR: usize = 512;

type Page = Arc<[u8; PAGE]>;

/// The content of a disk: its pages by number. A missing page contains only zeros.
#[derive(Clone, Default)]
struct Image {
    length: u64,
    pages: BTreeMap<u64, Page>,
}

#[derive(Default)]
struct DiskState {
    /// The content as processes read it, synced or not.
    current: Image,
    durable: Image,
    dirty: BTreeSet<u64>,
    /// The number of the only [`DiskHandle`] that may use the disk.
    handle: u64,
    /// The number of writes and syncs that still succeed, if a failure is planned. All later writes
    /// and syncs fail.
    writes_until_failure: Option<u64>,
    full: bool,
}

/// A disk that outlives the processes that use it. Clones share the disk.
#[derive(Clone, Default)]
pub(crate) struct Disk(Arc<Mutex<DiskState>>);

/// A process's access to a disk. The access ends with the next `open`, `detach` or power loss.
pub(crate) struct DiskHandle {
    disk: Disk,
    handle: u64,
}

impl fmt::Debug for DiskHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DiskHandle({})", self.handle)
    }
}

impl Disk {
    /// Returns a disk with a new, empty store.
    pub(crate) fn with_new_store() -> Self {
        static NEW: OnceLock<Disk> = OnceLock::new();
        let new = NEW.get_or_init(|| {
            let disk = Self::default();
            let store =
                RedbStore::open_backend(disk.open(), Path::new("new")).expect("a new store");
            drop(store);
            disk
        });
        new.copy_durable()
    }

    /// Returns a new disk with the durable content of this disk.
    pub(crate) fn copy_durable(&self) -> Self {
        let durable = self.lock().durable.clone();
        let copy = Self::default();
        {
            let mut state = copy.lock();
            state.current = durable.clone();
            state.durable = durable;
        }
        copy
    }

    fn lock(&self) -> MutexGuard<'_, DiskState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the disk for a new process, and cancels a planned failure. Earlier processes can no
    /// longer use the disk.
    pub(crate) fn open(&self) -> DiskHandle {
        let mut state = self.lock();
        state.handle += 1;
        state.writes_until_failure = None;
        DiskHandle {
            disk: self.clone(),
            handle: state.handle,
        }
    }

    /// Ends the access of a killed process. Everything that the process wrote is kept.
    pub(crate) fn detach(&self) {
        self.lock().handle += 1;
    }

    /// Simulates a power loss, which ends the access of the process. Data that was not synced is
    /// lost, completely or in part.
    pub(crate) fn lose_power(&self, rng: &mut SeededRng) {
        let mut state = self.lock();
        state.handle += 1;
        let dirty = std::mem::take(&mut state.dirty);
        let mut survivor = state.durable.clone();
        if rng.roll_per_mille(500) {
            survivor.length = state.current.length;
        }
        let write_rate = rng.pick_below(1001);
        for number in dirty {
            let new = state.current.pages.get(&number).cloned();
            match rng.pick_below(4) {
                0 => survivor.tear_page(number, new.as_ref(), rng),
                _ if rng.roll_per_mille(write_rate) => survivor.put_page(number, new),
                _ => {}
            }
        }
        state.current = survivor.clone();
        state.durable = survivor;
    }

    /// Lets this number of writes and syncs succeed, and all later ones fail.
    pub(crate) fn fail_after(&self, writes: u64) {
        self.lock().writes_until_failure = Some(writes);
    }

    /// Ends all planned and current failures.
    pub(crate) fn repair(&self) {
        let mut state = self.lock();
        (state.writes_until_failure, state.full) = (None, false);
    }

    pub(crate) fn set_full(&self, full: bool) {
        self.lock().full = full;
    }
}

impl Image {
    fn put_page(&mut self, number: u64, page: Option<Page>) {
        match page {
            Some(page) => drop(self.pages.insert(number, page)),
            None => drop(self.pages.remove(&number)),
        }
    }

    /// Replaces randomly chosen sectors of the page with those of the new page.
    fn tear_page(&mut self, number: u64, new: Option<&Page>, rng: &mut SeededRng) {
        let mut torn = self.pages.get(&number).map_or([0; PAGE], |page| **page);
        for sector in (0..PAGE).step_by(SECTOR) {
            if rng.roll_per_mille(500) {
                let end = sector + SECTOR;
                match new {
                    Some(new) => torn[sector..end].copy_from_slice(&new[sector..end]),
                    None => torn[sector..end].fill(0),
                }
            }
        }
        self.put_page(number, Some(Arc::new(torn)));
    }
}

impl DiskHandle {
    fn lock(&self) -> Result<MutexGuard<'_, DiskState>, Error> {
        let state = self.disk.lock();
        if state.handle == self.handle {
            Ok(state)
        } else {
            Err(Error::other("this process has ended"))
        }
    }

    fn begin_write(&self) -> Result<MutexGuard<'_, DiskState>, Error> {
        let mut state = self.lock()?;
        match &mut state.writes_until_failure {
            Some(0) => return Err(Error::other("the disk failed, as planned")),
            Some(left) => *left -= 1,
            None => {}
        }
        if state.full {
            return Err(ErrorKind::StorageFull.into());
        }
        Ok(state)
    }
}

impl StorageBackend for DiskHandle {
    fn len(&self) -> Result<u64, Error> {
        Ok(self.lock()?.current.length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), Error> {
        let state = self.lock()?;
        if offset + out.len() as u64 > state.current.length {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let mut at = offset as usize;
        let mut out = out;
        while !out.is_empty() {
            let (number, start) = ((at / PAGE) as u64, at % PAGE);
            let length = out.len().min(PAGE - start);
            let (head, tail) = out.split_at_mut(length);
            match state.current.pages.get(&number) {
                Some(page) => head.copy_from_slice(&page[start..start + length]),
                None => head.fill(0),
            }
            (out, at) = (tail, at + length);
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> Result<(), Error> {
        let mut state = self.begin_write()?;
        state.current.length = length;
        let cut = state.current.pages.split_off(&length.div_ceil(PAGE as u64));
        state.dirty.extend(cut.into_keys());
        Ok(())
    }

    fn sync_data(&self) -> Result<(), Error> {
        let mut state = self.begin_write()?;
        let state = &mut *state;
        for number in std::mem::take(&mut state.dirty) {
            let page = state.current.pages.get(&number).cloned();
            state.durable.put_page(number, page);
        }
        state.durable.length = state.current.length;
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), Error> {
        let mut state = self.begin_write()?;
        let mut at = offset as usize;
        let mut data = data;
        while !data.is_empty() {
            let (number, start) = ((at / PAGE) as u64, at % PAGE);
            let length = data.len().min(PAGE - start);
            let (head, tail) = data.split_at(length);
            let page = state.current.pages.entry(number);
            let page = page.or_insert_with(|| Arc::new([0; PAGE]));
            Arc::make_mut(page)[start..start + length].copy_from_slice(head);
            state.dirty.insert(number);
            (data, at) = (tail, at + length);
        }
        Ok(())
    }
}
