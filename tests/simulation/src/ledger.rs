//! An agent's disk: the file under its ledger. Each verb is durable when it returns; one that is cut short
//! leaves nothing, a part, or all of it.

use std::io::{self, Error};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use scuttle_agent::ledger::LedgerFile;

use crate::chance::Chance;

#[derive(Debug)]
struct Content {
    bytes: Vec<u8>,
    /// After so many more verbs, one fails.
    fuse: Option<u64>,
    chance: Chance,
}

/// A file that outlives its agents; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct AgentFile(Arc<Mutex<Content>>);

impl AgentFile {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Content {
            bytes: Vec::new(),
            fuse: None,
            chance: Chance::new(seed),
        })))
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn light_fuse(&self, verbs: Option<u64>) {
        self.content().fuse = verbs;
    }
}

impl Content {
    /// Whether this verb is the one that is cut short.
    fn cut_short(&mut self) -> bool {
        match &mut self.fuse {
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        }
    }
}

fn failed() -> Error {
    Error::other("the disk failed, as ordered")
}

impl LedgerFile for AgentFile {
    fn read(&mut self) -> io::Result<Vec<u8>> {
        Ok(self.content().bytes.clone())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut content = self.content();
        if !content.cut_short() {
            content.bytes.extend_from_slice(bytes);
            return Ok(());
        }
        let part = content.chance.below(bytes.len() as u64) as usize;
        match content.chance.below(4) {
            0 => {}
            1 => content.bytes.extend_from_slice(&bytes[..part]),
            2 => {
                // The file had grown before its data came.
                content.bytes.extend_from_slice(&bytes[..part]);
                let grown = content.bytes.len() + bytes.len() - part;
                content.bytes.resize(grown, 0);
            }
            _ => content.bytes.extend_from_slice(bytes),
        }
        Err(failed())
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        let mut content = self.content();
        let fails = content.cut_short();
        if !fails || content.chance.happens(500) {
            content.bytes.truncate(length as usize);
        }
        if fails { Err(failed()) } else { Ok(()) }
    }

    fn replace(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut content = self.content();
        let fails = content.cut_short();
        if !fails || content.chance.happens(500) {
            content.bytes = bytes.to_vec();
        }
        if fails { Err(failed()) } else { Ok(()) }
    }
}
