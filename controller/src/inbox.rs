//! The way into the engine, with room for so much and no more. What takes up room is counted until its
//! answer has left: while it waits, is decided, is made durable and is sent. Whom a message comes from, and
//! what is answered to one that finds no room, is known in `inbound`.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use scuttle_core::Input;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

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
    /// Bytes of payloads.
    pub bytes: usize,
}

impl Limits {
    /// The controller's.
    ///
    /// Changes and reports: each about a fifth of a second of the engine's work, so that a requester is told
    /// `overloaded` before it loses patience. They are counted apart, so that no flood of the agents shuts
    /// out the operators, or the other way round. Reads have room of their own, so that lists are
    /// answered while changes are refused; there is less of it, since an answer may take up to 1 MB of
    /// memory until it is sent. Bytes: the inventories of a few hundred large hosts at once; what a payload
    /// becomes takes several times its memory.
    pub const STANDARD: Self = Self {
        changes: 8192,
        reports: 8192,
        reads: 256,
        bytes: 64 << 20,
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
    changes: Arc<Semaphore>,
    reports: Arc<Semaphore>,
    reads: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
}

/// Room that an input takes up, until this is dropped.
#[derive(Debug)]
pub struct Room {
    _place: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
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
            bytes,
        } = limits;
        // Whatever has a place has one here, too.
        let (jobs, engine) = sync_channel(changes + reports + reads);
        let rooms = [changes, reports, reads, bytes].map(|room| Arc::new(Semaphore::new(room)));
        let [changes, reports, reads, bytes] = rooms;
        let rooms = Arc::new(Rooms {
            changes,
            reports,
            reads,
            bytes,
        });
        (Self { jobs, rooms }, engine)
    }

    /// Takes up room for an input whose payload had so many bytes, if there is room: the requester keeps it
    /// until it has been answered.
    pub fn room(&self, input: &Input, bytes: usize) -> Option<Room> {
        let Rooms {
            changes,
            reports,
            reads,
            bytes: payloads,
        } = &*self.rooms;
        let places = match input {
            Input::Progress { .. } | Input::Result { .. } | Input::Heartbeat { .. } => reports,
            Input::ShardsList(_)
            | Input::HostsList(_)
            | Input::OperationsList(_)
            | Input::OperationGet(_) => reads,
            _ => changes,
        };
        // A payload that no count can tell is one for which there is no room.
        let bytes = u32::try_from(bytes).ok()?;
        Some(Room {
            _place: places.clone().try_acquire_owned().ok()?,
            _bytes: payloads.clone().try_acquire_many_owned(bytes).ok()?,
        })
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
