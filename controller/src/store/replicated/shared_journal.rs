//! The interface of a journal that several controllers share, and functions that read such a
//! journal without gaps.

use std::time::Duration;

use bytes::Bytes;

use crate::store::error::StoreError;
use crate::store::format_version::StreamId;
use crate::store::journal_error::JournalError;

/// The timeout for receiving a message that the journal is known to hold.
pub(super) const MESSAGE_TIMEOUT: Duration = Duration::from_secs(5);

/// A journal that several controllers share.
pub trait SharedJournal: Send {
    /// Returns the name of the journal.
    fn name(&self) -> &str;

    /// Returns the present identity and range of the journal.
    ///
    /// # Errors
    /// If the journal does not exist, or the servers do not respond.
    fn state(&mut self) -> Result<JournalState, JournalError>;

    /// Returns a recent state of the journal without blocking, or `None` if there is no new one.
    /// `last` is the sequence of the last message that is known to exist now. The result contains
    /// the `last` of the call that requested the state.
    fn poll_state(&mut self, last: u64) -> Option<(u64, Result<JournalState, JournalError>)>;

    /// Returns the newest snapshot of the journal's rows, or `None` if no snapshot is stored.
    ///
    /// # Errors
    /// If the servers do not respond.
    fn newest_snapshot(&mut self) -> Result<Option<SnapshotInfo>, JournalError>;

    /// Makes [`Self::next`] continue with the message after `after`. Skips messages that were
    /// trimmed.
    ///
    /// # Errors
    /// If the servers do not respond.
    fn seek(&mut self, after: u64) -> Result<(), JournalError>;

    /// Returns the next message, or `None` if none arrives within `timeout`. [`Self::seek`] must be
    /// called first.
    ///
    /// # Errors
    /// If a controller wrote the message and it cannot be read, or the servers do not respond.
    fn next(&mut self, timeout: Duration) -> Result<Option<Message>, JournalError>;

    /// Appends a batch directly after message `expected`, and returns the sequence of the batch's
    /// last message.
    ///
    /// # Errors
    /// [`JournalError::Superseded`] if `expected` is not the last message. The batch is then not in
    /// the journal. After any other error it is unknown whether the batch was appended.
    fn append(&mut self, expected: u64, batch: &[u8]) -> Result<u64, JournalError>;
}

/// The identity of a journal and the range of its messages. The range is empty if `last` is less
/// than `first`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalState {
    pub id: StreamId,
    /// The sequence of the first message that was not trimmed.
    pub first: u64,
    /// The sequence of the last message ever appended, or `first - 1` if no message was ever
    /// appended.
    pub last: u64,
}

/// A snapshot of the rows on the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// The sequence of the last message that the snapshot contains.
    pub sequence: u64,
    /// The time of the recovery that the record has gone through, see
    /// [`KnownStream`](crate::store::format_version::KnownStream).
    pub recovered_at: u64,
}

/// One message of a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub sequence: u64,
    pub content: Content,
}

/// The content of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// The batch that the message completes.
    Batch(Bytes),
    /// A part of a batch that a later message completes.
    Part,
    /// A message that no controller has written. Readers skip it.
    Foreign,
}

/// Returns the sequence of the journal's last message.
///
/// # Errors
/// If messages after `known` were trimmed, the journal ends before `known`, or the servers do not
/// respond.
pub(super) fn find_end(journal: &mut impl SharedJournal, known: u64) -> Result<u64, JournalError> {
    let JournalState { first, last, .. } = journal.state()?;
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

/// Returns the message after `known`, or `None` if it does not arrive within `timeout`.
///
/// # Errors
/// If the servers do not respond, the message is damaged, or there is a gap
/// after `known`. Messages are only ever trimmed from the start of the journal, so a gap means that
/// the missing messages were trimmed.
pub(super) fn next_message(
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
/// If messages after `known` were trimmed or are damaged, the journal ends before `known`, or the
/// servers do not respond.
pub(crate) fn read_batches(
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
        if let Content::Batch(batch) = message.content {
            batches.push(batch);
        }
    }
    Ok(batches)
}

pub(super) fn message_overdue(stream: &str) -> StoreError {
    let cause = "the next message did not arrive in time".to_owned();
    JournalError::failed("read", stream, cause).into()
}
