//! A storage backend that keeps writes in memory and leaves the file unchanged. With this backend,
//! redb can check a file before any of its bytes change. Without it, redb would write to a file
//! that needs a repair after a kill, even if redb then rejects the file.

use std::fs::File;
use std::io;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ::redb::backends::FileBackend;
use ::redb::{BackendError, StorageBackend};

/// An unchanged file, overlaid with writes that stay in memory.
#[derive(Debug)]
pub(crate) struct ReadOnlyOverlay {
    file: FileBackend,
    state: Mutex<OverlayState>,
}

#[derive(Debug)]
struct OverlayState {
    /// The length of the prefix of the file that `set_len` has never cut off. Reads beyond it do
    /// not see the file.
    visible: u64,
    len: u64,
    /// The offset and content of each write, oldest first.
    writes: Vec<(u64, Vec<u8>)>,
}

impl ReadOnlyOverlay {
    /// Wraps a file that is open for reading. When redb locks the file exclusively, the overlay
    /// takes a shared lock instead, because nothing is written.
    pub(crate) fn new(file: File) -> Result<Self, ::redb::Error> {
        let file = FileBackend::new(file)?;
        let len = file.len()?;
        let state = Mutex::new(OverlayState {
            visible: len,
            len,
            writes: Vec::new(),
        });
        Ok(Self { file, state })
    }

    fn state(&self) -> MutexGuard<'_, OverlayState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StorageBackend for ReadOnlyOverlay {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.state().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let state = self.state();
        let end = offset + out.len() as u64;
        if end > state.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        out.fill(0);
        let visible = state.visible.clamp(offset, end) - offset;
        if visible > 0 {
            self.file.read(offset, &mut out[..visible as usize])?;
        }
        for (at, written) in &state.writes {
            let (from, to) = ((*at).max(offset), (at + written.len() as u64).min(end));
            if from < to {
                let part = &written[(from - at) as usize..(to - at) as usize];
                out[(from - offset) as usize..(to - offset) as usize].copy_from_slice(part);
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        let mut state = self.state();
        state.visible = state.visible.min(len);
        state.len = len;
        state.writes.retain_mut(|(at, written)| {
            written.truncate(len.saturating_sub(*at) as usize);
            !written.is_empty()
        });
        Ok(())
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.state().writes.push((offset, data.to_vec()));
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
