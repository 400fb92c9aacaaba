//! The store whose journal is shared by several controllers and replicated by the NATS servers. The
//! rows are in a local file, together with the sequence of the last message that they contain.
//! Newer changes are in the journal.
//!
//! The lease (`leadership::lease`) decides which controller should write. This module ensures that
//! no other controller can: every append names the message that must be the last in the journal,
//! and fails if another message has followed.

use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

use scuttle_core::{Change, ReplayError};
use tokio::runtime::Handle;

use crate::store::disk_format;
use crate::store::error::StoreError;
use crate::store::format_version::StreamPosition;
use crate::store::journal_error::JournalError;
use crate::store::latest_changes::LatestChanges;
use crate::store::redb::redb_store::RedbStore;
use crate::store::replicated::jetstream::{JournalStream, StreamJournal};
use crate::store::replicated::shared_journal::{
    MESSAGE_TIMEOUT, Message, SharedJournal, find_end, message_overdue, next_message,
};
use crate::store::snapshot::Snapshots;
use crate::store::store_trait::Store;

/// A store whose rows are local and whose journal is shared.
pub struct ReplicatedStore<J = StreamJournal> {
    rows: RedbStore,
    journal: J,
    /// The sequence of the last message that was read or written.
    last: u64,
    /// The batches that are not in the rows yet, each with the sequence of its last message.
    tail: VecDeque<(u64, Vec<Change>)>,
    /// The number of changes in `tail`.
    changes: usize,
    buffer: Vec<u8>,
}

impl ReplicatedStore {
    /// Opens the rows in a data directory and the stream with the newer changes. Creates the rows
    /// and the stream if they are missing. All methods of a store block, so none may be called on a
    /// thread of the async runtime.
    ///
    /// # Errors
    /// - If the file cannot be opened, or its rows belong to another journal.
    /// - If the stream belongs to a swarm with another number of partitions.
    /// - If the servers do not respond.
    pub fn open(
        data_dir: &Path,
        runtime: Handle,
        stream: JournalStream,
    ) -> Result<Self, StoreError> {
        let rows = RedbStore::open_any_journal(data_dir)?;
        let journal = StreamJournal::open(runtime, stream)?;
        Self::from_parts(rows, journal)
    }
}

impl<J: SharedJournal> ReplicatedStore<J> {
    /// Combines rows, which may be empty, with a journal. The caller must load the store before the
    /// first append, because the journal rejects appends while it holds messages that the store has
    /// not read.
    ///
    /// # Errors
    /// If the rows belong to another journal, or cannot be read or written.
    pub fn from_parts(rows: RedbStore, journal: J) -> Result<Self, StoreError> {
        let rows = rows.for_stream(journal.name())?;
        Ok(Self {
            last: rows.last_contained_sequence()?,
            rows,
            journal,
            tail: VecDeque::new(),
            changes: 0,
            buffer: Vec::new(),
        })
    }

    /// Checks that the store has read the journal up to `message`, which the journal is known to
    /// have held.
    ///
    /// # Errors
    /// [`JournalError::Lost`] if the journal ended before that message when it was last read.
    pub fn require_message(&self, message: u64) -> Result<(), JournalError> {
        if self.last >= message {
            return Ok(());
        }
        Err(JournalError::Lost {
            stream: self.journal.name().to_owned(),
            last: self.last,
            known: message,
        })
    }

    /// Returns a source of snapshots of the rows. The snapshots lack changes that are only in the
    /// journal.
    pub fn snapshots(&self) -> Snapshots {
        self.rows.snapshots()
    }

    /// Clears `tail` and restarts reading after the last message that the rows contain.
    fn rewind(&mut self) -> Result<(), StoreError> {
        self.tail.clear();
        self.changes = 0;
        self.last = self.rows.last_contained_sequence()?;
        Ok(self.journal.seek(self.last)?)
    }

    /// Reads the journal to its current end and calls `each` with every change. A later append
    /// succeeds only if no other controller has appended since.
    ///
    /// # Errors
    /// - If the servers do not respond.
    /// - If messages that the store has not read were trimmed, or messages that it has read are
    ///   lost.
    /// - If a batch cannot be decoded, or `each` rejects a change.
    pub fn catch_up(
        &mut self,
        each: &mut dyn FnMut(Change) -> Result<(), ReplayError>,
    ) -> Result<(), StoreError> {
        let last = find_end(&mut self.journal, self.last)?;
        while self.last < last {
            if !self.apply_next(MESSAGE_TIMEOUT, each)? {
                return Err(message_overdue(self.journal.name()));
            }
        }
        Ok(())
    }

    /// Waits up to `timeout` for the next message and returns whether it arrived. If the message
    /// completes a batch, calls `each` with the changes of the batch.
    ///
    /// # Errors
    /// - If the servers do not respond.
    /// - If messages that the store has not read were trimmed.
    /// - If a batch cannot be decoded, or `each` rejects a change.
    pub fn apply_next(
        &mut self,
        timeout: Duration,
        each: &mut dyn FnMut(Change) -> Result<(), ReplayError>,
    ) -> Result<bool, StoreError> {
        let next = next_message(&mut self.journal, self.last, timeout)?;
        let Some(Message { sequence, batch }) = next else {
            return Ok(false);
        };
        if let Some(bytes) = batch {
            let decoded = disk_format::decode(&bytes);
            let batch: Vec<Change> = decoded.map_err(|cause: postcard::Error| {
                JournalError::foreign(self.journal.name(), sequence, &cause)
            })?;
            for change in &batch {
                each(change.clone()).map_err(|cause| StoreError::Replay {
                    path: self.journal.name().into(),
                    cause,
                })?;
            }
            self.retain(sequence, batch);
        }
        self.last = sequence;
        Ok(true)
    }

    /// Restarts reading after the last message that was read or written, for example after an
    /// error.
    pub fn resume(&mut self) -> Result<(), StoreError> {
        Ok(self.journal.seek(self.last)?)
    }

    fn retain(&mut self, sequence: u64, batch: Vec<Change>) {
        self.changes += batch.len();
        self.tail.push_back((sequence, batch));
    }
}

impl<J: SharedJournal> Store for ReplicatedStore<J> {
    fn load(
        &mut self,
        each: &mut dyn FnMut(Change) -> Result<(), ReplayError>,
    ) -> Result<(), StoreError> {
        self.rows.load(each)?;
        self.rewind()?;
        self.catch_up(each)
    }

    fn append(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        let batch = disk_format::encode(changes, &mut self.buffer);
        let batch = batch.map_err(|error| StoreError::Database {
            action: "encode a change for",
            path: self.journal.name().into(),
            cause: error.to_string(),
        })?;
        self.last = self.journal.append(self.last, batch)?;
        self.retain(self.last, changes.to_vec());
        Ok(())
    }

    fn checkpoint(&mut self, changes: usize) -> Result<usize, StoreError> {
        let (mut latest, mut taken, mut batches, mut end) = (LatestChanges::default(), 0, 0, None);
        for (sequence, batch) in &self.tail {
            if taken >= changes {
                break;
            }
            taken += batch.len();
            batches += 1;
            end = Some(*sequence);
            for change in batch {
                latest.insert(change.clone());
            }
        }
        if let Some(end) = end {
            let position = StreamPosition {
                stream: self.journal.name().to_owned(),
                sequence: end,
            };
            self.rows.apply_checkpoint(&latest, &position)?;
            self.tail.drain(..batches);
            self.changes -= taken;
        }
        Ok(self.changes)
    }

    fn journal_len(&self) -> usize {
        self.changes
    }
}
