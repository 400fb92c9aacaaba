//! The store whose journal is shared by several controllers and replicated by the NATS servers. The
//! rows are in a local file, together with the sequence of the last message that they contain.
//! Newer changes are in the journal.
//!
//! The lease (`leadership::lease`) decides which controller should write. This module ensures that
//! no other controller can: every append names the message that must be the last in the journal,
//! and fails if another message has followed.

use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};

use scuttle_core::{Change, ReplayError};
use scuttle_schemas::subjects;
use tokio::runtime::Handle;
use tracing::warn;

use crate::store::disk_format;
use crate::store::error::StoreError;
use crate::store::format_version::{KnownStream, StreamPosition};
use crate::store::journal_error::JournalError;
use crate::store::latest_changes::LatestChanges;
use crate::store::redb::redb_store::RedbStore;
use crate::store::replicated::completeness::{Known, check_complete};
use crate::store::replicated::jetstream::{JournalStream, StreamJournal};
use crate::store::replicated::shared_journal::{
    Content, JournalState, MESSAGE_TIMEOUT, Message, SharedJournal, find_end, message_overdue,
    next_message,
};
use crate::store::replicated::snapshot_list;
use crate::store::snapshot::Snapshots;
use crate::store::store_trait::Store;

/// The interval at which the rows are brought up to date, so that they can replace a journal that
/// the servers lose. A checkpoint takes one fsync.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(1);

/// The number of times that an append is repeated after foreign messages.
const MAX_APPEND_ATTEMPTS: usize = 3;

/// A store whose rows are local and whose journal is shared.
pub struct ReplicatedStore<J = StreamJournal> {
    rows: RedbStore,
    journal: J,
    /// The stream, or `None` until [`Store::load`] has found it complete.
    known: Option<KnownStream>,
    /// The sequence of the last message that was read or written.
    last: u64,
    /// The batches that are not in the rows yet, each with the sequence of its last message.
    tail: VecDeque<(u64, Vec<Change>)>,
    /// The number of changes in `tail`.
    changes: usize,
    buffer: Vec<u8>,
    checkpointed_at: Instant,
    /// The number of messages that were skipped because no controller has written them.
    foreign: u64,
}

impl ReplicatedStore {
    /// Opens the rows in a data directory and the stream with the newer changes. Creates the rows
    /// if they are missing, and the stream if there is also no sign that it has existed. All
    /// methods of a store block, so none may be called on a thread of the async runtime.
    ///
    /// # Errors
    /// - If the file cannot be opened, or its rows belong to another journal.
    /// - [`JournalError::Missing`] if the stream does not exist, although the rows or a snapshot
    ///   have its content.
    /// - If the stream belongs to a swarm with another number of partitions.
    /// - If the servers do not respond.
    pub fn open(
        data_dir: &Path,
        runtime: Handle,
        stream: JournalStream,
    ) -> Result<Self, StoreError> {
        let rows = RedbStore::open_any_journal(data_dir)?.for_stream(&stream.name)?;
        let journal = match StreamJournal::open_existing(runtime.clone(), stream.clone()) {
            Err(JournalError::Missing { .. }) if is_new(&rows, &runtime, &stream)? => {
                StreamJournal::open_after(runtime, stream, 0)?
            }
            Err(JournalError::Missing { stream, .. }) => {
                let known = rows.last_contained_sequence()?;
                return Err(JournalError::Missing { stream, known }.into());
            }
            opened => opened?,
        };
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
            known: rows.known_stream()?,
            last: rows.last_contained_sequence()?,
            rows,
            journal,
            tail: VecDeque::new(),
            changes: 0,
            buffer: Vec::new(),
            checkpointed_at: Instant::now(),
            foreign: 0,
        })
    }

    /// Returns the sequence of the last message that was read or written.
    pub fn last_sequence(&self) -> u64 {
        self.last
    }

    /// Returns a source of snapshots of the rows. The snapshots lack changes that are only in the
    /// journal.
    pub fn snapshots(&self) -> Snapshots {
        self.rows.snapshots()
    }

    /// Checks that the journal contains everything that is known to have been in it, and records
    /// the stream with the rows when that is new.
    fn check_journal(&mut self) -> Result<(), StoreError> {
        let before = self.journal.newest_snapshot()?;
        let found = self.journal.state()?;
        let snapshot = self.journal.newest_snapshot()?;
        let known = Known {
            stream: self.known,
            last: self.last,
            in_snapshot: before.map_or(0, |before| before.sequence),
        };
        let checked = check_complete(self.journal.name(), known, found, snapshot)?;
        if self.known.replace(checked) != Some(checked) {
            let position = self.position(self.rows.last_contained_sequence()?);
            let nothing = LatestChanges::default();
            self.rows
                .apply_checkpoint(&nothing, &position, self.known.as_ref())?;
        }
        Ok(())
    }

    /// Checks a state of the journal that was requested when `last` was its last known message.
    fn check_state(&mut self, last: u64, found: JournalState) -> Result<(), JournalError> {
        // The list of snapshots is needed only if messages were trimmed since the last check.
        let trimmed = self.known.is_none_or(|known| found.first > known.first);
        let snapshot = if trimmed {
            self.journal.newest_snapshot()?
        } else {
            None
        };
        let known = Known {
            stream: self.known,
            last,
            in_snapshot: 0,
        };
        self.known = Some(check_complete(self.journal.name(), known, found, snapshot)?);
        Ok(())
    }

    fn position(&self, sequence: u64) -> StreamPosition {
        StreamPosition {
            stream: self.journal.name().to_owned(),
            sequence,
        }
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
        let found = self.journal.state()?;
        self.check_state(self.last, found)?;
        if found.first > self.last + 1 {
            let (name, first) = (self.journal.name(), found.first);
            return Err(JournalError::trimmed(name, first, self.last).into());
        }
        while self.last < found.last {
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
        let Some(Message { sequence, content }) = next else {
            return Ok(false);
        };
        match content {
            Content::Batch(bytes) => {
                let decoded = disk_format::decode(&bytes);
                let batch: Vec<Change> = decoded.map_err(|cause: postcard::Error| {
                    JournalError::damaged(self.journal.name(), sequence, &cause)
                })?;
                for change in &batch {
                    each(change.clone()).map_err(|cause| StoreError::Replay {
                        path: self.journal.name().into(),
                        cause,
                    })?;
                }
                self.retain(sequence, batch);
            }
            Content::Part => {}
            Content::Foreign => self.note_foreign(sequence),
        }
        self.last = sequence;
        Ok(true)
    }

    fn note_foreign(&mut self, sequence: u64) {
        self.foreign += 1;
        warn!(
            "skipped message {sequence} of the stream {}: no controller has written it; find the login that publishes on the journal's subject",
            self.journal.name()
        );
    }

    /// Reads the messages after the last known one, and returns true if there are some and no
    /// controller has written any of them. The state then still matches the journal, so that an
    /// append can be repeated after them.
    fn skip_foreign(&mut self) -> Result<bool, JournalError> {
        let end = find_end(&mut self.journal, self.last)?;
        self.journal.seek(self.last)?;
        let mut last = self.last;
        while last < end {
            match next_message(&mut self.journal, last, MESSAGE_TIMEOUT)? {
                Some(message) if message.content == Content::Foreign => last = message.sequence,
                _ => return Ok(false),
            }
        }
        for sequence in self.last + 1..=last {
            self.note_foreign(sequence);
        }
        Ok(std::mem::replace(&mut self.last, last) < last)
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
        self.last = self.rows.last_contained_sequence()?;
        self.check_journal()?;
        self.rows.load(each)?;
        self.rewind()?;
        self.catch_up(each)
    }

    fn append(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let encoded = disk_format::encode(changes, &mut buffer);
        let encoded = encoded.map_err(|error| StoreError::Database {
            action: "encode a change for",
            path: self.journal.name().into(),
            cause: error.to_string(),
        })?;
        let mut attempts = 1;
        loop {
            match self.journal.append(self.last, encoded) {
                Err(JournalError::Superseded { .. })
                    if attempts < MAX_APPEND_ATTEMPTS && self.skip_foreign()? =>
                {
                    attempts += 1;
                }
                appended => {
                    self.last = appended?;
                    break;
                }
            }
        }
        self.buffer = buffer;
        self.retain(self.last, changes.to_vec());
        Ok(())
    }

    fn verify(&mut self) -> Result<(), StoreError> {
        let Some((last, found)) = self.journal.poll_state(self.last) else {
            return Ok(());
        };
        match found.and_then(|found| self.check_state(last, found)) {
            Err(JournalError::Missing { stream, .. }) => {
                let known = self.last;
                Err(JournalError::Missing { stream, known }.into())
            }
            Err(error) if error.is_loss() => Err(error.into()),
            // The request failed. The next one shows the state of the journal.
            _ => Ok(()),
        }
    }

    fn foreign_messages(&self) -> u64 {
        self.foreign
    }

    fn is_checkpoint_due(&self) -> bool {
        self.changes > 0 && self.checkpointed_at.elapsed() >= CHECKPOINT_INTERVAL
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
        self.checkpointed_at = Instant::now();
        if let Some(end) = end {
            let position = self.position(end);
            self.rows
                .apply_checkpoint(&latest, &position, self.known.as_ref())?;
            self.tail.drain(..batches);
            self.changes -= taken;
        }
        Ok(self.changes)
    }

    fn journal_len(&self) -> usize {
        self.changes
    }
}

/// Returns whether nothing shows that the stream has existed: the rows were never read from a
/// stream, and there is no snapshot.
fn is_new(rows: &RedbStore, runtime: &Handle, stream: &JournalStream) -> Result<bool, StoreError> {
    if rows.known_stream()?.is_some() || rows.last_contained_sequence()? > 0 {
        return Ok(false);
    }
    let newest = runtime.block_on(async {
        let context = async_nats::jetstream::new(stream.client.clone());
        let prefix = subjects::snapshot_name_prefix(stream.assignment.partition);
        snapshot_list::find_newest(&context, &prefix).await
    });
    let newest = newest
        .map_err(|cause| JournalError::failed("list the snapshots of", &stream.name, cause))?;
    Ok(newest.is_none())
}
