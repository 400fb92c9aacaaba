//! The store whose journal is shared by several controllers and replicated by the NATS servers. The
//! rows are in a local file, together with the sequence of the last message that they contain; newer
//! changes are in the journal.
//!
//! The lease decides who should write (`leadership::lease`). This module ensures that no other
//! controller does: every append names the message that it expects to be the last.

mod framing;
mod jetstream;
mod rows;

use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use scuttle_core::{Change, ReplayError};
use tokio::runtime::Handle;

pub use jetstream::{JournalError, JournalStream, StreamJournal};
pub use rows::{export_rows, install_rows};

use super::codec::{self, StreamPosition};
use super::{LatestChanges, RedbStore, Snapshots, Store, StoreError};

/// How long to wait for the next message when the journal has one.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(5);

/// A journal that several controllers share.
pub trait SharedJournal: Send {
    /// Returns the name of the journal, for errors.
    fn name(&self) -> &str;

    /// Returns the range of messages that the journal holds now.
    ///
    /// # Errors
    /// If the servers do not respond.
    fn sequence_range(&mut self) -> Result<SequenceRange, JournalError>;

    /// Makes [`Self::next`] continue with the message after `after`.
    ///
    /// # Errors
    /// If that message was trimmed or the servers do not respond.
    fn seek(&mut self, after: u64) -> Result<(), JournalError>;

    /// Returns the next message, or `None` if none arrives within `timeout`.
    ///
    /// # Errors
    /// If the message was trimmed, is not a message of Scuttle, or the servers do not respond.
    fn next(&mut self, timeout: Duration) -> Result<Option<Message>, JournalError>;

    /// Appends a batch directly after message `expected`, and returns the sequence of the batch's
    /// last message.
    ///
    /// # Errors
    /// [`JournalError::Superseded`] if `expected` is not the last message: nothing was appended.
    /// After any other error it is unknown whether the batch was appended.
    fn append(&mut self, expected: u64, batch: &[u8]) -> Result<u64, JournalError>;
}

/// The range of messages in a journal. Empty if `last` is less than `first`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SequenceRange {
    /// The first message that was not trimmed.
    pub first: u64,
    /// The last message, or 0 if there never was one.
    pub last: u64,
}

/// One message of a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub sequence: u64,
    /// The batch that the message completes, if any.
    pub batch: Option<Bytes>,
}

/// A store whose rows are local and whose journal is shared.
pub struct ReplicatedStore<J = StreamJournal> {
    rows: RedbStore,
    journal: J,
    /// The sequence of the last message that was read or written.
    last: u64,
    /// The batches that are not in the rows yet, each with the sequence of its last message.
    tail: VecDeque<(u64, Vec<Change>)>,
    /// The number of changes in the tail.
    changes: usize,
    buffer: Vec<u8>,
}

impl ReplicatedStore {
    /// Opens the rows in a data directory and the stream with the newer changes, and creates both if
    /// they are missing. Like all methods of a store, this blocks and must not be called on a thread
    /// of the async runtime.
    ///
    /// # Errors
    /// If the file cannot be opened or belongs to another journal, or if the servers do not respond.
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
    /// Combines rows, which may be empty, with a journal. The caller must load the store before it
    /// appends, because an append behind unknown messages is rejected.
    ///
    /// # Errors
    /// If the rows belong to another journal.
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

    /// Checks that the journal reaches at least message `message`, which it is known to have held.
    ///
    /// # Errors
    /// [`JournalError::Lost`] if the journal ends before that message.
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

    /// Returns a source of snapshots of the rows, without the tail that is only in the journal.
    pub fn snapshots(&self) -> Snapshots {
        self.rows.snapshots()
    }

    /// Restarts reading after the last message that the rows contain.
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
    /// If the servers do not respond, the journal was trimmed past the last known message, or `each`
    /// rejects a change.
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

    /// Waits up to `timeout` for the next message, calls `each` with its changes, and returns whether
    /// a message arrived.
    ///
    /// # Errors
    /// As [`Self::catch_up`].
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
            let decoded = codec::decode(&bytes);
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

    /// Restarts reading after the last message that was read, for example after an error.
    pub fn resume(&mut self) -> Result<(), StoreError> {
        Ok(self.journal.seek(self.last)?)
    }

    fn retain(&mut self, sequence: u64, batch: Vec<Change>) {
        self.changes += batch.len();
        self.tail.push_back((sequence, batch));
    }
}

/// Returns the last message of the journal, which must still hold the messages after `known`.
fn find_end(journal: &mut impl SharedJournal, known: u64) -> Result<u64, JournalError> {
    let SequenceRange { first, last } = journal.sequence_range()?;
    if first > known + 1 {
        return Err(JournalError::trimmed(journal.name(), first, known));
    }
    if last < known {
        let stream = journal.name().to_owned();
        return Err(JournalError::Lost {
            stream,
            last,
            known,
        });
    }
    Ok(last)
}

/// Returns the message after `known` if it arrives within `timeout`. Messages are only ever trimmed
/// from the start of the journal, so a gap means that the missing messages were trimmed.
fn next_message(
    journal: &mut impl SharedJournal,
    known: u64,
    timeout: Duration,
) -> Result<Option<Message>, JournalError> {
    match journal.next(timeout)? {
        Some(message) if message.sequence != known + 1 => Err(JournalError::trimmed(
            journal.name(),
            message.sequence,
            known,
        )),
        message => Ok(message),
    }
}

/// Reads the batches that the journal holds after message `known`.
///
/// # Errors
/// If the journal was trimmed past that message or the servers do not respond.
pub(super) fn read_batches(
    journal: &mut impl SharedJournal,
    mut known: u64,
) -> Result<Vec<Bytes>, StoreError> {
    let last = find_end(journal, known)?;
    let mut batches = Vec::new();
    journal.seek(known)?;
    while known < last {
        let Some(message) = next_message(journal, known, MESSAGE_TIMEOUT)? else {
            return Err(message_overdue(journal.name()));
        };
        known = message.sequence;
        batches.extend(message.batch);
    }
    Ok(batches)
}

fn message_overdue(stream: &str) -> StoreError {
    let cause = "the next message did not arrive in time".to_owned();
    JournalError::failed("read", stream, cause).into()
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
        let batch = codec::encode(changes, &mut self.buffer);
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
