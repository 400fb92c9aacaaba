//! The data that NATS servers keep for controllers that share a record: the journal, a snapshot
//! that contains the trimmed part of the journal, and the leader's lease. Data is durable as soon
//! as it is stored. Missing replies from the servers are simulated, but not the consensus among the
//! servers.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use scuttle_controller::store::JournalError;
use scuttle_controller::store::format_version::StreamId;
use scuttle_controller::store::replicated::shared_journal::{
    Content, JournalState, Message, SharedJournal, SnapshotInfo,
};

use crate::seed::seeded_rng::SeededRng;
use crate::storage::disk::Disk;

const JOURNAL_STREAM: &str = "the journal";

/// The time after which a lease expires unless it is renewed.
pub(crate) const LEASE_TTL_MS: u64 = 2_000;

/// The fate of an append that gets no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AppendFault {
    NotStored,
    /// The journal contains the first parts of the batch, but not its end.
    PartlyStored,
    Stored,
}

/// The controller process that holds the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LeaseHolder {
    pub(crate) controller: usize,
    pub(crate) run: u64,
}

/// The result of a renewal of the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Renewal {
    Renewed,
    HeldByOther,
    /// The lease has expired, or the servers do not reply.
    NoReply,
}

/// The way in which the servers lose a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JournalLoss {
    /// The stream does not exist.
    Deleted,
    /// The stream was created again and is empty.
    Replaced,
    /// All messages were removed.
    Purged,
}

/// The content of a journal before the servers lost it.
struct LostJournal {
    stream: Option<i64>,
    messages: Vec<Content>,
    trimmed: u64,
    loss: JournalLoss,
    /// The number of appends since the loss.
    appends: u64,
}

struct ServersState {
    /// The identity of the stream, or `None` while it does not exist.
    stream: Option<i64>,
    /// All messages of the journal, by sequence. The last message of each batch holds the whole
    /// batch.
    messages: Vec<Content>,
    /// The number of messages that were removed from the start of the journal.
    trimmed: u64,
    /// The journal that the servers have lost and will find again.
    lost: Option<LostJournal>,
    /// The number of streams that were ever created.
    streams: i64,
    /// The sequence of the last message that the snapshot contains.
    snapshot_sequence: u64,
    /// A copy of a controller's rows, which contain at least the trimmed messages.
    snapshot: Option<Disk>,
    /// The sequence after which a controller last started to read.
    last_seek: u64,
    lease: Option<(LeaseHolder, u64)>,
    /// The fault of the next append, or `None` if the next append succeeds.
    append_fault: Option<AppendFault>,
    /// Whether the servers have no majority and so do not reply.
    unavailable: bool,
    /// The controllers that have no connection to the servers.
    disconnected: BTreeSet<usize>,
    rng: SeededRng,
}

/// The servers, which outlive all controllers. Clones share the servers.
#[derive(Clone)]
pub(crate) struct NatsServers(Arc<Mutex<ServersState>>);

/// One controller's access to the journal.
pub(crate) struct JournalClient {
    servers: NatsServers,
    controller: usize,
    /// The sequence of the last message that was read.
    read: u64,
}

impl NatsServers {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(ServersState {
            stream: Some(0),
            messages: Vec::new(),
            trimmed: 0,
            lost: None,
            streams: 1,
            snapshot_sequence: 0,
            snapshot: None,
            last_seek: 0,
            lease: None,
            append_fault: None,
            unavailable: false,
            disconnected: BTreeSet::new(),
            rng: SeededRng::new(seed),
        })))
    }

    fn lock(&self) -> MutexGuard<'_, ServersState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn open_journal(&self, controller: usize) -> JournalClient {
        JournalClient {
            servers: self.clone(),
            controller,
            read: 0,
        }
    }

    /// Returns the number of complete batches in the journal, including the trimmed batches.
    pub(crate) fn batch_count(&self) -> usize {
        let is_batch = |content: &&Content| matches!(content, Content::Batch(_));
        self.lock().messages.iter().filter(is_batch).count()
    }

    /// Stores `rows` as the snapshot and trims the journal up to the sequence `contained`, which is
    /// the last message that the rows contain. Does nothing if the journal is already trimmed up to
    /// there.
    pub(crate) fn trim(&self, rows: Disk, contained: u64) {
        let mut state = self.lock();
        if contained > state.trimmed && state.lost.is_none() {
            state.trimmed = contained;
            state.snapshot_sequence = contained;
            state.snapshot = Some(rows);
        }
    }

    pub(crate) fn snapshot(&self) -> Option<Disk> {
        self.lock().snapshot.as_ref().map(Disk::copy_durable)
    }

    pub(crate) fn last_seek(&self) -> u64 {
        self.lock().last_seek
    }

    /// Acquires the lease if it is free and the servers reply. Returns whether the lease was
    /// acquired.
    pub(crate) fn acquire_lease(&self, holder: LeaseHolder, now: u64) -> bool {
        let mut state = self.lock();
        let free = state.lease.is_none_or(|(_, until)| until <= now);
        let acquired = state.is_reachable_from(holder.controller) && free;
        if acquired {
            state.lease = Some((holder, now + LEASE_TTL_MS));
        }
        acquired
    }

    pub(crate) fn renew_lease(&self, holder: LeaseHolder, now: u64) -> Renewal {
        let mut state = self.lock();
        let current = state.lease.filter(|(_, until)| now < *until);
        match current {
            Some((other, _)) if state.is_reachable_from(holder.controller) && other == holder => {
                state.lease = Some((holder, now + LEASE_TTL_MS));
                Renewal::Renewed
            }
            Some(_) if state.is_reachable_from(holder.controller) => Renewal::HeldByOther,
            _ => Renewal::NoReply,
        }
    }

    pub(crate) fn lease_holder(&self, now: u64) -> Option<LeaseHolder> {
        let lease = self.lock().lease;
        lease.and_then(|(holder, until)| (now < until).then_some(holder))
    }

    pub(crate) fn release_lease(&self, holder: LeaseHolder) {
        let mut state = self.lock();
        let reachable = state.is_reachable_from(holder.controller);
        state
            .lease
            .take_if(|(other, _)| reachable && *other == holder);
    }

    /// Ends the lease before it expires.
    pub(crate) fn expire_lease(&self) {
        self.lock().lease = None;
    }

    /// Loses the journal until [`restore_journal`](Self::restore_journal). Does nothing if the
    /// journal is lost already, or has no message that the loss would remove.
    pub(crate) fn lose_journal(&self, loss: JournalLoss) {
        let mut guard = self.lock();
        let state = &mut *guard;
        let is_trimmed_completely = state.trimmed == state.last_sequence();
        if state.lost.is_some()
            || state.messages.is_empty()
            || (loss == JournalLoss::Purged && is_trimmed_completely)
        {
            return;
        }
        state.lost = Some(LostJournal {
            stream: state.stream,
            messages: state.messages.clone(),
            trimmed: state.trimmed,
            loss,
            appends: 0,
        });
        match loss {
            JournalLoss::Deleted => state.stream = None,
            JournalLoss::Replaced => {
                state.stream = Some(state.streams);
                state.streams += 1;
                state.messages.clear();
                state.trimmed = 0;
            }
            JournalLoss::Purged => state.trimmed = state.last_sequence(),
        }
    }

    pub(crate) fn is_journal_lost(&self) -> bool {
        self.lock().lost.is_some()
    }

    /// Restores a lost journal, as an operator does from a backup of the servers. What was appended
    /// after a purge stays. Returns a description if a controller has appended too much: nothing
    /// may be appended to a stream that replaces the lost one, and one append may follow a purge
    /// before the leader notices the purge.
    pub(crate) fn restore_journal(&self) -> Result<(), String> {
        let mut state = self.lock();
        let Some(lost) = state.lost.take() else {
            return Ok(());
        };
        state.stream = lost.stream;
        state.trimmed = lost.trimmed;
        let allowed = u64::from(lost.loss == JournalLoss::Purged);
        if lost.loss != JournalLoss::Purged {
            state.messages = lost.messages;
        }
        if lost.appends > allowed {
            let appends = lost.appends;
            return Err(format!("{appends} appends after the loss {:?}", lost.loss));
        }
        Ok(())
    }

    /// Adds a message that no controller has written.
    pub(crate) fn add_foreign_message(&self) {
        let mut state = self.lock();
        if state.stream.is_some() {
            state.messages.push(Content::Foreign);
        }
    }

    pub(crate) fn fail_next_append(&self, append_fault: Option<AppendFault>) {
        self.lock().append_fault = append_fault;
    }

    pub(crate) fn set_unavailable(&self, unavailable: bool) {
        self.lock().unavailable = unavailable;
    }

    pub(crate) fn set_disconnected(&self, controller: usize, disconnected: bool) {
        let mut state = self.lock();
        if disconnected {
            state.disconnected.insert(controller);
        } else {
            state.disconnected.remove(&controller);
        }
    }
}

impl ServersState {
    fn is_reachable_from(&self, controller: usize) -> bool {
        !self.unavailable && !self.disconnected.contains(&controller)
    }

    fn last_sequence(&self) -> u64 {
        self.messages.len() as u64
    }
}

fn no_reply(action: &'static str) -> JournalError {
    JournalError::Failed {
        action,
        stream: JOURNAL_STREAM.to_owned(),
        cause: "no reply, as planned".to_owned(),
    }
}

fn missing() -> JournalError {
    JournalError::Missing {
        stream: JOURNAL_STREAM.to_owned(),
        known: 0,
    }
}

impl JournalClient {
    fn lock_for_request(
        &self,
        action: &'static str,
    ) -> Result<MutexGuard<'_, ServersState>, JournalError> {
        let state = self.servers.lock();
        if state.is_reachable_from(self.controller) {
            Ok(state)
        } else {
            Err(no_reply(action))
        }
    }
}

impl SharedJournal for JournalClient {
    fn name(&self) -> &str {
        JOURNAL_STREAM
    }

    fn state(&mut self) -> Result<JournalState, JournalError> {
        let state = self.lock_for_request("ask about")?;
        let id = state.stream.ok_or_else(missing)?;
        Ok(JournalState {
            id: StreamId(id),
            first: state.trimmed + 1,
            last: state.last_sequence(),
        })
    }

    fn poll_state(&mut self, last: u64) -> Option<(u64, Result<JournalState, JournalError>)> {
        Some((last, self.state()))
    }

    fn newest_snapshot(&mut self) -> Result<Option<SnapshotInfo>, JournalError> {
        let state = self.lock_for_request("list the snapshots of")?;
        Ok(state.snapshot.as_ref().map(|_| SnapshotInfo {
            sequence: state.snapshot_sequence,
            recovered_at: 0,
        }))
    }

    fn seek(&mut self, after: u64) -> Result<(), JournalError> {
        self.lock_for_request("read")?.last_seek = after;
        self.read = after;
        Ok(())
    }

    /// Returns the next message that has not been trimmed. Returns `None` if that message does not
    /// exist yet or the servers do not reply. A later call can then read the message.
    fn next(&mut self, _: Duration) -> Result<Option<Message>, JournalError> {
        let Ok(state) = self.lock_for_request("read") else {
            return Ok(None);
        };
        if state.stream.is_none() {
            return Ok(None);
        }
        // Trimmed messages are skipped.
        let next = self.read.max(state.trimmed);
        let Some(content) = state.messages.get(next as usize).cloned() else {
            return Ok(None);
        };
        drop(state);
        self.read = next + 1;
        Ok(Some(Message {
            sequence: self.read,
            content,
        }))
    }

    fn append(&mut self, expected: u64, batch: &[u8]) -> Result<u64, JournalError> {
        let mut state = self.lock_for_request("append to")?;
        if state.stream.is_none() {
            return Err(no_reply("append to"));
        }
        if state.last_sequence() != expected {
            let stream = JOURNAL_STREAM.to_owned();
            return Err(JournalError::Superseded { stream });
        }
        if let Some(lost) = &mut state.lost {
            lost.appends += 1;
        }
        let append_fault = state.append_fault.take();
        // A large batch is split into several messages; the last one completes it.
        let is_split =
            append_fault == Some(AppendFault::PartlyStored) || state.rng.roll_per_mille(200);
        let parts = if is_split {
            state.rng.pick_between(1, 3)
        } else {
            0
        };
        if append_fault != Some(AppendFault::NotStored) {
            let length = state.messages.len() + parts as usize;
            state.messages.resize(length, Content::Part);
        }
        if !matches!(
            append_fault,
            Some(AppendFault::NotStored | AppendFault::PartlyStored)
        ) {
            let batch = Bytes::copy_from_slice(batch);
            state.messages.push(Content::Batch(batch));
        }
        match append_fault {
            None => Ok(state.last_sequence()),
            Some(_) => Err(no_reply("append to")),
        }
    }
}
