//! A file that redb may write to without writing to it: to find out whether a file is one of ours, and whole,
//! before anything in it is changed. (Opening alone changes a file: redb repairs what a kill left, and even a
//! file that it then refuses.)

use std::fs::File;
use std::io;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ::redb::backends::FileBackend;
use ::redb::{BackendError, StorageBackend};

/// A file, and what was written over it in memory.
#[derive(Debug)]
pub(crate) struct ReadOnlyOverlay {
    file: FileBackend,
    over: Mutex<Over>,
}

#[derive(Debug)]
struct Over {
    /// How much of the file still shows through.
    shown: u64,
    len: u64,
    /// In their order.
    writes: Vec<(u64, Vec<u8>)>,
}

impl ReadOnlyOverlay {
    /// Over a file that is open for reading: its locks are those of a database, but shared, since nothing is written.
    pub(crate) fn new(file: File) -> Result<Self, ::redb::Error> {
        let file = FileBackend::new(file)?;
        let len = file.len()?;
        let over = Mutex::new(Over {
            shown: len,
            len,
            writes: Vec::new(),
        });
        Ok(Self { file, over })
    }

    fn over(&self) -> MutexGuard<'_, Over> {
        self.over.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StorageBackend for ReadOnlyOverlay {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.over().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let over = self.over();
        let end = offset + out.len() as u64;
        if end > over.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        out.fill(0);
        let shown = over.shown.clamp(offset, end) - offset;
        if shown > 0 {
            self.file.read(offset, &mut out[..shown as usize])?;
        }
        for (at, written) in &over.writes {
            let (from, to) = ((*at).max(offset), (at + written.len() as u64).min(end));
            if from < to {
                let piece = &written[(from - at) as usize..(to - at) as usize];
                out[(from - offset) as usize..(to - offset) as usize].copy_from_slice(piece);
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        let mut over = self.over();
        over.shown = over.shown.min(len);
        over.len = len;
        over.writes.retain_mut(|(at, written)| {
            written.truncate(len.saturating_sub(*at) as usize);
            !written.is_empty()
        });
        Ok(())
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.over().writes.push((offset, data.to_vec()));
        Ok(())
    }

    fn close(&self) -> Result<(), io::Error> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}
