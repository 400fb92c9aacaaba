//! The agent's disk: the file under its ledger. The data of a call is durable when the call
//! returns. An interrupted call leaves nothing, a part, or all of its data.

use std::io::{self, Error};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use scuttle_agent::ledger::ledger_file::LedgerFile;

use crate::seed::seeded_rng::SeededRng;

#[derive(Debug)]
struct FileState {
    bytes: Vec<u8>,
    /// The number of calls that still succeed before a planned failure, or `None` if no failure is
    /// planned.
    calls_until_failure: Option<u64>,
    rng: SeededRng,
}

/// A file that outlives the agent processes that open it. Clones share the file.
#[derive(Debug, Clone)]
pub(crate) struct AgentFile(Arc<Mutex<FileState>>);

impl AgentFile {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(FileState {
            bytes: Vec::new(),
            calls_until_failure: None,
            rng: SeededRng::new(seed),
        })))
    }

    fn lock(&self) -> MutexGuard<'_, FileState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn fail_after(&self, calls: Option<u64>) {
        self.lock().calls_until_failure = calls;
    }
}

impl FileState {
    /// Counts down to a planned failure. Returns whether the current call is interrupted.
    fn fails_now(&mut self) -> bool {
        match &mut self.calls_until_failure {
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        }
    }
}

fn planned_failure() -> Error {
    Error::other("the disk failed, as planned")
}

impl LedgerFile for AgentFile {
    fn read(&mut self) -> io::Result<Vec<u8>> {
        Ok(self.lock().bytes.clone())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.lock();
        if !state.fails_now() {
            state.bytes.extend_from_slice(bytes);
            return Ok(());
        }
        let part = state.rng.pick_below(bytes.len() as u64) as usize;
        match state.rng.pick_below(4) {
            0 => {}
            1 => state.bytes.extend_from_slice(&bytes[..part]),
            2 => {
                // The file has grown, but the end of its data was not written.
                state.bytes.extend_from_slice(&bytes[..part]);
                let grown = state.bytes.len() + bytes.len() - part;
                state.bytes.resize(grown, 0);
            }
            _ => state.bytes.extend_from_slice(bytes),
        }
        Err(planned_failure())
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        let mut state = self.lock();
        let fails = state.fails_now();
        if !fails || state.rng.roll_per_mille(500) {
            state.bytes.truncate(length as usize);
        }
        if fails {
            Err(planned_failure())
        } else {
            Ok(())
        }
    }

    fn replace(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.lock();
        let fails = state.fails_now();
        if !fails || state.rng.roll_per_mille(500) {
            state.bytes = bytes.to_vec();
        }
        if fails {
            Err(planned_failure())
        } else {
            Ok(())
        }
    }
}
