//! What the NATS servers keep for several controllers: the journal that they share, a snapshot of what was trimmed from it, and
//! the lease that says who leads. It is durable as soon as it is there: how the servers come to agree is not simulated, only
//! that they may not answer.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use scuttle_controller::store::{Extent, JournalError, Message, SharedJournal};

use crate::chance::Chance;
use crate::disk::Disk;

/// What the journal is called.
const JOURNAL_STREAM: &str = "the journal";

/// How long a lease is there without being renewed, in milliseconds.
pub(crate) const TTL_MS: u64 = 2_000;

/// What becomes of an append that is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// Nothing of it is there.
    Lost,
    /// Its first parts are.
    CutShort,
    /// All of it is.
    Kept,
}

/// One run of one controller.
pub(crate) type Holder = (usize, u64);

/// What the servers say to who renews the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Renewal {
    Renewed,
    /// Somebody else has it.
    Taken,
    /// There is none to renew, or no answer.
    No,
}

struct Content {
    /// The batch that each message ends, if it ends one.
    messages: Vec<Option<Bytes>>,
    /// So many of them were trimmed.
    trimmed: u64,
    /// The rows of one controller, which contain at least those.
    snapshot: Option<Disk>,
    /// After which message somebody last began to read.
    sought: u64,
    lease: Option<(Holder, u64)>,
    /// What becomes of the next append.
    fault: Option<Unanswered>,
    /// They have no majority.
    away: bool,
    /// The controllers that they do not hear.
    cut_off: BTreeSet<usize>,
    chance: Chance,
}

/// The servers, which outlive every controller; clones are the same.
#[derive(Clone)]
pub(crate) struct Servers(Arc<Mutex<Content>>);

/// The journal as one controller comes to it.
pub(crate) struct Journal {
    servers: Servers,
    controller: usize,
    /// The last message that was read.
    read: u64,
}

impl Servers {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Content {
            messages: Vec::new(),
            trimmed: 0,
            snapshot: None,
            sought: 0,
            lease: None,
            fault: None,
            away: false,
            cut_off: BTreeSet::new(),
            chance: Chance::new(seed),
        })))
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn journal(&self, controller: usize) -> Journal {
        Journal {
            servers: self.clone(),
            controller,
            read: 0,
        }
    }

    /// How many batches the journal has.
    pub(crate) fn batches(&self) -> usize {
        self.content().messages.iter().flatten().count()
    }

    /// Keeps rows that contain the journal up to a message, and trims it so far.
    pub(crate) fn trim(&self, rows: Disk, contained: u64) {
        let mut content = self.content();
        if contained > content.trimmed {
            content.trimmed = contained;
            content.snapshot = Some(rows);
        }
    }

    pub(crate) fn snapshot(&self) -> Option<Disk> {
        self.content().snapshot.as_ref().map(Disk::copy)
    }

    /// After which message somebody last began to read.
    pub(crate) fn sought(&self) -> u64 {
        self.content().sought
    }

    /// Takes the lease, unless somebody has it.
    pub(crate) fn take(&self, holder: Holder, now: u64) -> bool {
        let mut content = self.content();
        let free = content.lease.is_none_or(|(_, until)| until <= now);
        let taken = content.owns_subject(holder.0) && free;
        if taken {
            content.lease = Some((holder, now + TTL_MS));
        }
        taken
    }

    pub(crate) fn renew(&self, holder: Holder, now: u64) -> Renewal {
        let mut content = self.content();
        let there = content.lease.filter(|(_, until)| now < *until);
        match there {
            Some((other, _)) if content.owns_subject(holder.0) && other == holder => {
                content.lease = Some((holder, now + TTL_MS));
                Renewal::Renewed
            }
            Some(_) if content.owns_subject(holder.0) => Renewal::Taken,
            _ => Renewal::No,
        }
    }

    /// Who has the lease.
    pub(crate) fn holder(&self, now: u64) -> Option<Holder> {
        let lease = self.content().lease;
        lease.and_then(|(holder, until)| (now < until).then_some(holder))
    }

    /// Gives the lease back, if it is held.
    pub(crate) fn release(&self, holder: Holder) {
        let mut content = self.content();
        let heard = content.owns_subject(holder.0);
        content
            .lease
            .take_if(|(other, _)| heard && *other == holder);
    }

    /// Takes it away before its time.
    pub(crate) fn expire(&self) {
        self.content().lease = None;
    }

    /// The next append is not answered.
    pub(crate) fn fail_next(&self, fault: Option<Unanswered>) {
        self.content().fault = fault;
    }

    pub(crate) fn go(&self, away: bool) {
        self.content().away = away;
    }

    pub(crate) fn cut_off(&self, controller: usize, cut: bool) {
        let mut content = self.content();
        if cut {
            content.cut_off.insert(controller);
        } else {
            content.cut_off.remove(&controller);
        }
    }
}

impl Content {
    fn owns_subject(&self, controller: usize) -> bool {
        !self.away && !self.cut_off.contains(&controller)
    }

    fn last(&self) -> u64 {
        self.messages.len() as u64
    }
}

fn unanswered(action: &'static str) -> JournalError {
    JournalError::Refused {
        action,
        stream: JOURNAL_STREAM.to_owned(),
        cause: "no answer, as ordered".to_owned(),
    }
}

impl Journal {
    fn asked(&self, action: &'static str) -> Result<MutexGuard<'_, Content>, JournalError> {
        let content = self.servers.content();
        if content.owns_subject(self.controller) {
            Ok(content)
        } else {
            Err(unanswered(action))
        }
    }
}

impl SharedJournal for Journal {
    fn name(&self) -> &str {
        JOURNAL_STREAM
    }

    fn extent(&mut self) -> Result<Extent, JournalError> {
        let content = self.asked("ask about")?;
        let (first, last) = (content.trimmed + 1, content.last());
        Ok(Extent { first, last })
    }

    fn seek(&mut self, after: u64) -> Result<(), JournalError> {
        self.asked("read")?.sought = after;
        self.read = after;
        Ok(())
    }

    /// What does not come yet, because the servers are away, comes later.
    fn next(&mut self, _: Duration) -> Result<Option<Message>, JournalError> {
        let Ok(content) = self.asked("read") else {
            return Ok(None);
        };
        // What was trimmed is left out.
        let next = self.read.max(content.trimmed);
        let Some(batch) = content.messages.get(next as usize).cloned() else {
            return Ok(None);
        };
        drop(content);
        self.read = next + 1;
        Ok(Some(Message {
            sequence: self.read,
            batch,
        }))
    }

    fn append(&mut self, expected: u64, batch: &[u8]) -> Result<u64, JournalError> {
        let mut content = self.asked("append to")?;
        if content.last() != expected {
            let stream = JOURNAL_STREAM.to_owned();
            return Err(JournalError::Superseded { stream });
        }
        let fault = content.fault.take();
        // A large batch is several messages, and ends with the last of them.
        let large = fault == Some(Unanswered::CutShort) || content.chance.happens(200);
        let parts = if large {
            content.chance.within(1, 3)
        } else {
            0
        };
        if fault != Some(Unanswered::Lost) {
            let length = content.messages.len() + parts as usize;
            content.messages.resize(length, None);
        }
        if !matches!(fault, Some(Unanswered::Lost | Unanswered::CutShort)) {
            content.messages.push(Some(Bytes::copy_from_slice(batch)));
        }
        match fault {
            None => Ok(content.last()),
            Some(_) => Err(unanswered("append to")),
        }
    }
}
