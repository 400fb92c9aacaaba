//! The controller's disk: what redb writes to, in pages that are durable once synced. A kill leaves all that
//! was written; a loss of power leaves of each page not synced the old, the new, or some sectors of each.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{Error, ErrorKind};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use redb::StorageBackend;
use scuttle_controller::store::RedbStore;

use crate::chance::Chance;

const PAGE: usize = 4096;
const SECTOR: usize = 512;

type Page = Arc<[u8; PAGE]>;

/// Pages by number; one that is missing is all zeros.
#[derive(Clone, Default)]
struct Image {
    length: u64,
    pages: BTreeMap<u64, Page>,
}

#[derive(Default)]
struct Content {
    /// As a process reads it.
    now: Image,
    durable: Image,
    dirty: BTreeSet<u64>,
    /// Which opening of the disk may still use it.
    opening: u64,
    /// After so many more writes and syncs, the next one fails, and all that follow.
    fuse: Option<u64>,
    full: bool,
}

/// A disk that outlives the processes that use it.
#[derive(Clone, Default)]
pub(crate) struct Disk(Arc<Mutex<Content>>);

/// One opening of a disk, by one process.
pub(crate) struct Opening {
    disk: Disk,
    opening: u64,
}

impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Opening({})", self.opening)
    }
}

impl Disk {
    /// A disk with a store that was just made on it.
    pub(crate) fn with_new_store() -> Self {
        static NEW: OnceLock<Disk> = OnceLock::new();
        let new = NEW.get_or_init(|| {
            let disk = Self::default();
            let store = RedbStore::over(disk.open(), Path::new("new")).expect("a new store");
            drop(store);
            disk
        });
        new.copy()
    }

    /// Another disk, with what is durable on this one.
    pub(crate) fn copy(&self) -> Self {
        let durable = self.content().durable.clone();
        let copy = Self::default();
        {
            let mut content = copy.content();
            content.now = durable.clone();
            content.durable = durable;
        }
        copy
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For a new process: those before can write no more.
    pub(crate) fn open(&self) -> Opening {
        let mut content = self.content();
        content.opening += 1;
        content.fuse = None;
        Opening {
            disk: self.clone(),
            opening: content.opening,
        }
    }

    /// The process that had it is gone; what it wrote stays.
    pub(crate) fn kill(&self) {
        self.content().opening += 1;
    }

    /// The power is gone, and with it what was not synced, or some of it.
    pub(crate) fn lose_power(&self, chance: &mut Chance) {
        let mut content = self.content();
        content.opening += 1;
        let dirty = std::mem::take(&mut content.dirty);
        let mut kept = content.durable.clone();
        if chance.happens(500) {
            kept.length = content.now.length;
        }
        let favour = chance.below(1001);
        for number in dirty {
            let new = content.now.pages.get(&number).cloned();
            match chance.below(4) {
                0 => kept.tear(number, new.as_ref(), chance),
                _ if chance.happens(favour) => kept.put(number, new),
                _ => {}
            }
        }
        content.now = kept.clone();
        content.durable = kept;
    }

    /// Lets the disk fail after so many more writes and syncs.
    pub(crate) fn light_fuse(&self, writes: u64) {
        self.content().fuse = Some(writes);
    }

    /// Lets it fail no more.
    pub(crate) fn mend(&self) {
        let mut content = self.content();
        (content.fuse, content.full) = (None, false);
    }

    /// Whether there is no room on it.
    pub(crate) fn fill(&self, full: bool) {
        self.content().full = full;
    }
}

impl Image {
    fn put(&mut self, number: u64, page: Option<Page>) {
        match page {
            Some(page) => drop(self.pages.insert(number, page)),
            None => drop(self.pages.remove(&number)),
        }
    }

    /// Some sectors of the new page reached the disk.
    fn tear(&mut self, number: u64, new: Option<&Page>, chance: &mut Chance) {
        let mut torn = self.pages.get(&number).map_or([0; PAGE], |page| **page);
        for sector in (0..PAGE).step_by(SECTOR) {
            if chance.happens(500) {
                let end = sector + SECTOR;
                match new {
                    Some(new) => torn[sector..end].copy_from_slice(&new[sector..end]),
                    None => torn[sector..end].fill(0),
                }
            }
        }
        self.put(number, Some(Arc::new(torn)));
    }
}

impl Opening {
    fn content(&self) -> Result<MutexGuard<'_, Content>, Error> {
        let content = self.disk.content();
        if content.opening == self.opening {
            Ok(content)
        } else {
            Err(Error::other("this process is gone"))
        }
    }

    fn to_write(&self) -> Result<MutexGuard<'_, Content>, Error> {
        let mut content = self.content()?;
        match &mut content.fuse {
            Some(0) => return Err(Error::other("the disk failed, as ordered")),
            Some(left) => *left -= 1,
            None => {}
        }
        if content.full {
            return Err(ErrorKind::StorageFull.into());
        }
        Ok(content)
    }
}

impl StorageBackend for Opening {
    fn len(&self) -> Result<u64, Error> {
        Ok(self.content()?.now.length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), Error> {
        let content = self.content()?;
        if offset + out.len() as u64 > content.now.length {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let mut at = offset as usize;
        let mut out = out;
        while !out.is_empty() {
            let (number, start) = ((at / PAGE) as u64, at % PAGE);
            let length = out.len().min(PAGE - start);
            let (head, tail) = out.split_at_mut(length);
            match content.now.pages.get(&number) {
                Some(page) => head.copy_from_slice(&page[start..start + length]),
                None => head.fill(0),
            }
            (out, at) = (tail, at + length);
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> Result<(), Error> {
        let mut content = self.to_write()?;
        content.now.length = length;
        let cut = content.now.pages.split_off(&length.div_ceil(PAGE as u64));
        content.dirty.extend(cut.into_keys());
        Ok(())
    }

    fn sync_data(&self) -> Result<(), Error> {
        let mut content = self.to_write()?;
        let content = &mut *content;
        for number in std::mem::take(&mut content.dirty) {
            let page = content.now.pages.get(&number).cloned();
            content.durable.put(number, page);
        }
        content.durable.length = content.now.length;
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), Error> {
        let mut content = self.to_write()?;
        let mut at = offset as usize;
        let mut data = data;
        while !data.is_empty() {
            let (number, start) = ((at / PAGE) as u64, at % PAGE);
            let length = data.len().min(PAGE - start);
            let (head, tail) = data.split_at(length);
            let page = content.now.pages.entry(number);
            let page = page.or_insert_with(|| Arc::new([0; PAGE]));
            Arc::make_mut(page)[start..start + length].copy_from_slice(head);
            content.dirty.insert(number);
            (data, at) = (tail, at + length);
        }
        Ok(())
    }
}
