//! The data that NATS servers keep for controllers that share a record: the journal, a snapshot
//! that contains the trimmed part of the journal, and the leader's lease. Data is durable as soon
//! as it is stored. Missing replies from the servers are simulated, but not the consensus among the
//! servers.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use scuttle_controller::store::JournalError;
use scuttle_controller::store::replicated::shared_journal::{
    Message, SequenceRange, SharedJournal,
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

struct ServersState {
    /// All messages of the journal, by sequence. The last message of each batch holds the whole
    /// batch. The other messages of a split batch are `None`.
    messages: Vec<Option<Bytes>>,
    /// The number of messages that were trimmed from the start of the journal.
    trimmed: u64,
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
            messages: Vec::new(),
            trimmed: 0,
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
        self.lock().messages.iter().flatten().count()
    }

    /// Stores `rows` as the snapshot and trims the journal up to the sequence `contained`, which is
    /// the last message that the rows contain. Does nothing if the journal is already trimmed up to
    /// there.
    pub(crate) fn trim(&self, rows: Disk, contained: u64) {
        let mut state = self.lock();
        if contained > state.trimmed {
            state.trimmed = contained;
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

    fn sequence_range(&mut self) -> Result<SequenceRange, JournalError> {
        let state = self.lock_for_request("ask about")?;
        let (first, last) = (state.trimmed + 1, state.last_sequence());
        Ok(SequenceRange { first, last })
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
        // Trimmed messages are skipped.
        let next = self.read.max(state.trimmed);
        let Some(batch) = state.messages.get(next as usize).cloned() else {
            return Ok(None);
        };
        drop(state);
        self.read = next + 1;
        Ok(Some(Message {
            sequence: self.read,
            batch,
        }))
    }

    fn append(&mut self, expected: u64, batch: &[u8]) -> Result<u64, JournalError> {
        let mut state = self.lock_for_request("append to")?;
        if state.last_sequence() != expected {
            let stream = JOURNAL_STREAM.to_owned();
            return Err(JournalError::Superseded { stream });
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
            state.messages.resize(length, None);
        }
        if !matches!(
            append_fault,
            Some(AppendFault::NotStored | AppendFault::PartlyStored)
        ) {
            state.messages.push(Some(Bytes::copy_from_slice(batch)));
        }
        match append_fault {
            None => Ok(state.last_sequence()),
            Some(_) => Err(no_reply("append to")),
        }
    }
}
