//! The store whose journal is a stream on the NATS servers, replicated by them. The rows are in a file of this machine's own, with
//! the sequence of the last message that they contain.

mod journal;
mod parts;

use std::collections::VecDeque;
use std::path::Path;

use async_nats::Client;
use scuttle_core::{Change, ReplayError};
use tokio::runtime::Handle;

pub use journal::JournalError;

use self::journal::Journal;
use super::{Fold, RedbStore, Store, StoreError, codec};

/// A store over a stream.
pub struct JetStreamStore {
    rows: RedbStore,
    journal: Journal,
    /// The batches that the rows do not contain yet, each with the sequence of its last message.
    tail: VecDeque<(u64, Vec<Change>)>,
    /// How many changes those are.
    changes: usize,
    buffer: Vec<u8>,
}

impl JetStreamStore {
    /// Opens the rows in a data directory, and the stream that has what happened since; makes what is missing. Like all of a store's
    /// verbs not to be called by a thread of the runtime's.
    ///
    /// # Errors
    /// As of a store's file; the file is of another stream, or of none; the servers do not answer.
    pub fn open(
        data_dir: &Path,
        (runtime, client): (Handle, Client),
        (stream, subject): (&str, &str),
        replicas: usize,
    ) -> Result<Self, StoreError> {
        let rows = RedbStore::open_replica(data_dir, stream)?;
        let journal = Journal::open(runtime, client, (stream, subject), replicas)?;
        let mut store = Self {
            rows,
            journal,
            tail: VecDeque::new(),
            changes: 0,
            buffer: Vec::new(),
        };
        store.read_tail(&mut |_| Ok(()))?;
        Ok(store)
    }

    /// Reads what the stream has and the rows do not.
    fn read_tail(
        &mut self,
        each: &mut dyn FnMut(&Change) -> Result<(), ReplayError>,
    ) -> Result<(), StoreError> {
        let stream = self.journal.name().to_owned();
        let (mut tail, mut changes) = (VecDeque::new(), 0);
        self.journal
            .read(self.rows.contains()?, |sequence, bytes| {
                let batch: Vec<Change> =
                    codec::decode(bytes).map_err(|cause| JournalError::Foreign {
                        stream: stream.clone(),
                        sequence,
                        cause: cause.to_string(),
                    })?;
                for change in &batch {
                    each(change).map_err(|cause| StoreError::Replay {
                        path: stream.clone().into(),
                        cause,
                    })?;
                }
                changes += batch.len();
                tail.push_back((sequence, batch));
                Ok::<_, StoreError>(())
            })?;
        (self.tail, self.changes) = (tail, changes);
        Ok(())
    }
}

impl Store for JetStreamStore {
    fn load(
        &mut self,
        each: &mut dyn FnMut(Change) -> Result<(), ReplayError>,
    ) -> Result<(), StoreError> {
        self.rows.load(each)?;
        self.read_tail(&mut |change| each(change.clone()))
    }

    fn append(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        let batch = codec::encode(changes, &mut self.buffer);
        let batch = batch.map_err(|error| StoreError::Database {
            action: "encode a change for",
            path: self.journal.name().into(),
            cause: error.to_string(),
        })?;
        let last = self.journal.append(batch)?;
        self.tail.push_back((last, changes.to_vec()));
        self.changes += changes.len();
        Ok(())
    }

    fn checkpoint(&mut self, changes: usize) -> Result<usize, StoreError> {
        let (mut fold, mut taken, mut batches, mut end) = (Fold::default(), 0, 0, None);
        for (sequence, batch) in &self.tail {
            if taken >= changes {
                break;
            }
            taken += batch.len();
            batches += 1;
            end = Some(*sequence);
            for change in batch {
                fold.take(change.clone());
            }
        }
        if let Some(end) = end {
            self.rows.replace(&fold, (self.journal.name(), end))?;
            self.tail.drain(..batches);
            self.changes -= taken;
        }
        Ok(self.changes)
    }

    fn journal_len(&self) -> usize {
        self.changes
    }
}
