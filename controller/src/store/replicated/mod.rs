//! The store whose journal several controllers share, and the servers replicate. The rows are in a file of this machine's own,
//! with the sequence of the last message that they contain; what happened since is in the journal. Who may write is known
//! elsewhere (`lease`); that nobody else does is known here: an append says which message it expects to be the last.

mod framing;
mod jetstream;
mod rows;

use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use scuttle_core::{Change, ReplayError};
use tokio::runtime::Handle;

pub use jetstream::{JetStream, JournalError, StreamJournal};
pub use rows::{place_rows, write_rows};

use super::{LatestChanges, RedbStore, Snapshots, Store, StoreError, codec};

/// How long the next message of a journal may take that has one.
const PATIENCE: Duration = Duration::from_secs(5);

/// A journal that several share.
pub trait SharedJournal: Send {
    /// What it is called.
    fn name(&self) -> &str;

    /// Which messages it has.
    ///
    /// # Errors
    /// The servers do not answer.
    fn sequence_range(&mut self) -> Result<SequenceRange, JournalError>;

    /// From now on `next` gives what comes after this message.
    ///
    /// # Errors
    /// That is not there any more, or the servers do not answer.
    fn seek(&mut self, after: u64) -> Result<(), JournalError>;

    /// The next message; none if it does not come within `patience`.
    ///
    /// # Errors
    /// It is not there any more, it is not of Scuttle's making, or the servers do not answer.
    fn next(&mut self, patience: Duration) -> Result<Option<Message>, JournalError>;

    /// Appends a batch whose first message comes right after message `expected`; answers its last.
    ///
    /// # Errors
    /// Another message is the last ([`JournalError::Superseded`]): nothing was appended. Or it is not known whether it was.
    fn append(&mut self, expected: u64, batch: &[u8]) -> Result<u64, JournalError>;
}

/// Which messages a journal has: none of them, if the last comes before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SequenceRange {
    /// The first that was not trimmed.
    pub first: u64,
    /// The last; 0 before there was one.
    pub last: u64,
}

/// One message of a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its sequence.
    pub sequence: u64,
    /// The batch that it ends, if it ends one.
    pub batch: Option<Bytes>,
}

/// A store over a shared journal.
pub struct ReplicatedStore<J = StreamJournal> {
    rows: RedbStore,
    journal: J,
    /// The last message that was read or written.
    last: u64,
    /// The batches that the rows do not contain yet, each with the sequence of its last message.
    tail: VecDeque<(u64, Vec<Change>)>,
    /// How many changes those are.
    changes: usize,
    buffer: Vec<u8>,
}

impl ReplicatedStore {
    /// Opens the rows in a data directory, and the stream that has what happened since; makes what is missing. Like all of a store's
    /// verbs not to be called by a thread of the runtime's.
    ///
    /// # Errors
    /// As of a store's file; the file is of another stream, or of none; the servers do not answer.
    pub fn open(data_dir: &Path, runtime: Handle, stream: JetStream) -> Result<Self, StoreError> {
        let rows = RedbStore::open_any_journal(data_dir)?;
        let journal = StreamJournal::open(runtime, stream)?;
        Self::from_parts(rows, journal)
    }
}

impl<J: SharedJournal> ReplicatedStore<J> {
    /// A store of these rows, which may be empty, and this journal. It is to be loaded before anything is appended: what it does not
    /// know of is in the way.
    ///
    /// # Errors
    /// The rows are another journal's; the servers do not answer.
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

    /// Refuses a journal that ends before a message that it has had.
    ///
    /// # Errors
    /// It does ([`JournalError::Lost`]).
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

    /// Where snapshots of the rows are taken: without the tail, which is in the journal.
    pub fn snapshots(&self) -> Snapshots {
        self.rows.snapshots()
    }

    /// Begins to read again, after what the rows contain.
    fn rewind(&mut self) -> Result<(), StoreError> {
        self.tail.clear();
        self.changes = 0;
        self.last = self.rows.last_contained_sequence()?;
        Ok(self.journal.seek(self.last)?)
    }

    /// Hands all that others have appended by now to `each`. What is appended then comes after that.
    ///
    /// # Errors
    /// The servers do not answer, the journal was trimmed beyond what is known here, or `each` refuses a change.
    pub fn catch_up(
        &mut self,
        each: &mut dyn FnMut(Change) -> Result<(), ReplayError>,
    ) -> Result<(), StoreError> {
        let last = end(&mut self.journal, self.last)?;
        while self.last < last {
            if !self.follow(PATIENCE, each)? {
                return Err(late(self.journal.name()));
            }
        }
        Ok(())
    }

    /// Hands what the next message brings to `each`; whether one came within `patience`.
    ///
    /// # Errors
    /// As `catch_up`.
    pub fn follow(
        &mut self,
        patience: Duration,
        each: &mut dyn FnMut(Change) -> Result<(), ReplayError>,
    ) -> Result<bool, StoreError> {
        let next = next(&mut self.journal, self.last, patience)?;
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
            self.keep(sequence, batch);
        }
        self.last = sequence;
        Ok(true)
    }

    /// Begins to read again after what was read last, where that broke off.
    ///
    /// # Errors
    /// The servers do not answer.
    pub fn resume(&mut self) -> Result<(), StoreError> {
        Ok(self.journal.seek(self.last)?)
    }

    fn keep(&mut self, sequence: u64, batch: Vec<Change>) {
        self.changes += batch.len();
        self.tail.push_back((sequence, batch));
    }
}

/// The last message that a journal has now, of which all up to `known` are known.
fn end(journal: &mut impl SharedJournal, known: u64) -> Result<u64, JournalError> {
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

/// The message after the last known, if it comes within `patience`. Nothing is ever deleted amid a journal: a jump was trimmed.
fn next(
    journal: &mut impl SharedJournal,
    known: u64,
    patience: Duration,
) -> Result<Option<Message>, JournalError> {
    match journal.next(patience)? {
        Some(message) if message.sequence != known + 1 => Err(JournalError::trimmed(
            journal.name(),
            message.sequence,
            known,
        )),
        message => Ok(message),
    }
}

/// The batches that a journal has now after message `known`.
///
/// # Errors
/// The journal was trimmed beyond that, or does not answer.
pub(super) fn batches(
    journal: &mut impl SharedJournal,
    mut known: u64,
) -> Result<Vec<Bytes>, StoreError> {
    let last = end(journal, known)?;
    let mut batches = Vec::new();
    journal.seek(known)?;
    while known < last {
        let Some(message) = next(journal, known, PATIENCE)? else {
            return Err(late(journal.name()));
        };
        known = message.sequence;
        batches.extend(message.batch);
    }
    Ok(batches)
}

/// What is to come does not.
fn late(stream: &str) -> StoreError {
    let cause = "the next message does not come".to_owned();
    JournalError::refused("read", stream, cause).into()
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
        self.keep(self.last, changes.to_vec());
        Ok(())
    }

    fn checkpoint(&mut self, changes: usize) -> Result<usize, StoreError> {
        let (mut fold, mut taken, mut batches, mut end) = (LatestChanges::default(), 0, 0, None);
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
