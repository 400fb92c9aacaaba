//! The way into the engine, with room for so much and no more. What takes up room is counted until its
//! answer has left: while it waits, is decided, is made durable and is sent. Whom a message comes from, and
//! what is answered to one that finds no room, is known in `inbound`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Instant;

use scuttle_core::Input;

use crate::admission::host_rate_limit::{Share, Shares};
use crate::engine::Job;

/// How many inputs of each kind, and how many bytes of payload in all, are in hand at the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Requests of operators that change something.
    pub changes: usize,
    /// Reports of agents.
    pub reports: usize,
    /// Requests that only read.
    pub reads: usize,
    /// What other partitions' leaders tell.
    pub relays: usize,
    /// Bytes of those requests.
    pub bytes: usize,
    /// Bytes of the reports.
    pub report_bytes: usize,
    /// Bytes of what other leaders tell.
    pub relay_bytes: usize,
    /// What is read of the reports of one host.
    pub share: Share,
}

impl Limits {
    /// The controller's.
    ///
    /// Changes and reports: each about a fifth of a second of the engine's work, so that a requester is told
    /// `overloaded` before it loses patience. They are counted apart, so that no flood of the agents shuts
    /// out the operators, or the other way round. Reads have room of their own, so that lists are
    /// answered while changes are refused; there is less of it, since an answer may take up to 1 MB of
    /// memory until it is sent. Bytes: requests are short; reports are the inventories of a few hundred large hosts
    /// at once; what a payload becomes takes several times its memory. What other leaders tell and finds no room, whoever follows
    /// the swarm lists anew.
    pub const STANDARD: Self = Self {
        changes: 8192,
        reports: 8192,
        reads: 256,
        relays: 1024,
        bytes: 16 << 20,
        report_bytes: 64 << 20,
        relay_bytes: 64 << 20,
        share: Share::STANDARD,
    };
}

/// A sender of the engine's inbox; clones share its limits.
#[derive(Debug)]
pub struct Inbox<R> {
    jobs: SyncSender<Job<R>>,
    rooms: Arc<Rooms>,
}

#[derive(Debug)]
struct Rooms {
    changes: Gauge,
    reports: Gauge,
    reads: Gauge,
    relays: Gauge,
    bytes: Gauge,
    report_bytes: Gauge,
    relay_bytes: Gauge,
    shares: Shares,
}

/// How much is taken up, of how much there is.
#[derive(Debug)]
struct Gauge {
    taken: AtomicUsize,
    most: usize,
}

impl Gauge {
    fn new(most: usize) -> Self {
        let taken = AtomicUsize::new(0);
        Self { taken, most }
    }

    /// Takes all of it up, or nothing.
    fn take(&self, amount: usize) -> bool {
        let more = |taken: usize| taken.checked_add(amount).filter(|sum| *sum <= self.most);
        let taken = (self.taken).fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.is_ok()
    }

    fn depth(&self) -> Depth {
        Depth {
            taken: self.taken.load(Ordering::Relaxed),
            most: self.most,
        }
    }

    fn give_back(&self, amount: usize) {
        self.taken.fetch_sub(amount, Ordering::Relaxed);
    }
}

/// Which count an input is in.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Change,
    Report,
    Read,
    Relay,
}

impl Kind {
    fn of(input: &Input) -> Self {
        match input {
            Input::Progress { .. } | Input::Result { .. } | Input::Heartbeat { .. } => Self::Report,
            Input::ShardsList(_)
            | Input::HostsList(_)
            | Input::OperationsList(_)
            | Input::OperationGet(_) => Self::Read,
            Input::Relay { .. } => Self::Relay,
            Input::Linearizable(input) => Self::of(input),
            Input::Start
            | Input::Tick
            | Input::Teardown { .. }
            | Input::Cancel(_)
            | Input::Enroll { .. }
            | Input::Decommission(_) => Self::Change,
        }
    }
}

impl Rooms {
    fn of(&self, kind: Kind) -> &Gauge {
        match kind {
            Kind::Change => &self.changes,
            Kind::Report => &self.reports,
            Kind::Read => &self.reads,
            Kind::Relay => &self.relays,
        }
    }

    fn bytes_of(&self, kind: Kind) -> &Gauge {
        match kind {
            Kind::Report => &self.report_bytes,
            Kind::Relay => &self.relay_bytes,
            Kind::Change | Kind::Read => &self.bytes,
        }
    }

    /// Takes all of it up, or nothing.
    fn take(&self, kind: Kind, bytes: usize) -> bool {
        let taken = self.of(kind).take(1);
        if taken && !self.bytes_of(kind).take(bytes) {
            self.of(kind).give_back(1);
            return false;
        }
        taken
    }
}

/// Room that an input takes up, until this is dropped.
#[derive(Debug)]
pub struct Room {
    rooms: Arc<Rooms>,
    kind: Kind,
    bytes: usize,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.rooms.of(self.kind).give_back(1);
        self.rooms.bytes_of(self.kind).give_back(self.bytes);
    }
}

/// How much of a room is taken up, of how much there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depth {
    /// Now.
    pub taken: usize,
    /// At the most.
    pub most: usize,
}

impl Depth {
    /// Of two rooms together.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            taken: self.taken + other.taken,
            most: self.most + other.most,
        }
    }
}

/// A look at the rooms of an inbox, which does not keep it open.
#[derive(Debug, Clone)]
pub struct Depths(Arc<Rooms>);

/// What is called how, and its depth.
pub type Named = Vec<(&'static str, Depth)>;

impl Depths {
    /// All of them: counted in messages, and in bytes of payload.
    pub fn all(&self) -> (Named, Named) {
        let rooms = &self.0;
        let messages = vec![
            ("changes", rooms.changes.depth()),
            ("reports", rooms.reports.depth()),
            ("reads", rooms.reads.depth()),
            ("relays", rooms.relays.depth()),
        ];
        let bytes = vec![
            ("requests", rooms.bytes.depth()),
            ("reports", rooms.report_bytes.depth()),
            ("relays", rooms.relay_bytes.depth()),
        ];
        (messages, bytes)
    }
}

/// Why there is no room for a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// Its host has had all that one host may have for now.
    Share,
    /// All of them together have all there is.
    Room,
}

/// The engine is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone;

impl<R> Inbox<R> {
    /// An inbox, and the engine's end of it.
    pub fn new(limits: Limits) -> (Self, Receiver<Job<R>>) {
        let Limits {
            changes,
            reports,
            reads,
            relays,
            bytes,
            report_bytes,
            relay_bytes,
            share,
        } = limits;
        // Whatever has a place has one here, too.
        let (jobs, engine) = sync_channel(changes + reports + reads + relays);
        let rooms = Arc::new(Rooms {
            changes: Gauge::new(changes),
            reports: Gauge::new(reports),
            reads: Gauge::new(reads),
            relays: Gauge::new(relays),
            bytes: Gauge::new(bytes),
            report_bytes: Gauge::new(report_bytes),
            relay_bytes: Gauge::new(relay_bytes),
            shares: Shares::new(share),
        });
        (Self { jobs, rooms }, engine)
    }

    /// How full it is, for whoever watches.
    pub fn depths(&self) -> Depths {
        Depths(self.rooms.clone())
    }

    /// Takes up room for a request whose payload had so many bytes, if there is room: the requester keeps it
    /// until it has been answered.
    pub fn room(&self, input: &Input, bytes: usize) -> Option<Room> {
        let kind = Kind::of(input);
        self.rooms.take(kind, bytes).then(|| Room {
            rooms: self.rooms.clone(),
            kind,
            bytes,
        })
    }

    /// Takes up room for a report of a host, which need not have been read yet.
    ///
    /// # Errors
    /// There is none.
    pub fn report_room(&self, host: &str, bytes: usize) -> Result<Room, Full> {
        if !self.rooms.shares.take(host, bytes, Instant::now()) {
            return Err(Full::Share);
        }
        let kind = Kind::Report;
        if !self.rooms.take(kind, bytes) {
            return Err(Full::Room);
        }
        let rooms = self.rooms.clone();
        Ok(Room { rooms, kind, bytes })
    }

    /// Hands an input to the engine; `requester` has the room that was taken up for it.
    ///
    /// # Errors
    /// The engine is gone; here is the requester again.
    pub fn send(&self, input: Input, requester: R) -> Result<(), (R, Gone)> {
        let job = Job {
            input,
            requester: Some(requester),
        };
        self.jobs.try_send(job).or_else(|refused| match refused {
            TrySendError::Disconnected(job) | TrySendError::Full(job) => job
                .requester
                .map_or(Ok(()), |requester| Err((requester, Gone))),
        })
    }
}

impl<R> Clone for Inbox<R> {
    fn clone(&self) -> Self {
        Self {
            jobs: self.jobs.clone(),
            rooms: self.rooms.clone(),
        }
    }
}
