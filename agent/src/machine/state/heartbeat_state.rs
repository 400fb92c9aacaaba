//! The state of the heartbeats of one boot.

use std::sync::Arc;

use scuttle_schemas::agents::ReportedShard;
use scuttle_schemas::{ErrorCode, Note, Text};

/// The schedule of the heartbeats, and the state of the latest heartbeat and inventory.
#[derive(Debug, Default)]
pub(crate) struct HeartbeatState {
    /// The time at which the next heartbeat is due, in milliseconds on the monotonic clock.
    pub(crate) due: u64,
    pub(crate) reading: Option<InventoryReading>,
    pub(crate) in_flight: Option<HeartbeatInFlight>,
    /// The last inventory that the controller accepted from this boot, or `None` if the next
    /// heartbeat must contain the full inventory.
    pub(crate) accepted: Option<Arc<[ReportedShard]>>,
    /// The notes of the last inventory that was read. Every heartbeat contains them.
    pub(crate) notes: Arc<[Note]>,
    /// A note about this agent itself. Every heartbeat contains it, before the other notes.
    pub(crate) agent_note: Option<Note>,
    /// The sequence number of this boot's latest result.
    pub(crate) last_result: u64,
    /// The number of consecutive heartbeats on this connection that were not accepted.
    pub(crate) failures: u32,
    /// The number of pages of the last heartbeat.
    pub(crate) pages: u64,
    pub(crate) logged: LoggedConditions,
}

/// A read of the inventory that has not returned.
#[derive(Debug)]
pub(crate) struct InventoryReading {
    /// The sequence number of the last report before the read began.
    pub(crate) sequence: u64,
    /// The time at which a heartbeat without inventory is sent instead, in milliseconds on the
    /// monotonic clock. A repeated read keeps the deadline of the first read.
    pub(crate) deadline: u64,
    /// Whether a result got its sequence number during the previous read.
    pub(crate) repeated: bool,
    /// Whether the read has timed out, so that a heartbeat without inventory was sent instead.
    pub(crate) timed_out: bool,
}

/// A heartbeat that waits for its replies.
#[derive(Debug)]
pub(crate) struct HeartbeatInFlight {
    pub(crate) sequence: u64,
    pub(crate) pages: u32,
    /// The accepted pages as a bit set, in which bit 0 stands for page 1.
    pub(crate) accepted_pages: u128,
    pub(crate) deadline: u64,
    pub(crate) content: HeartbeatContent,
}

/// What a heartbeat says about the inventory.
#[derive(Debug, Clone)]
pub(crate) enum HeartbeatContent {
    Full(Arc<[ReportedShard]>),
    Unchanged,
    Unreadable(Text),
}

/// The conditions that were already logged, so that each is logged only once.
#[derive(Debug, Default)]
pub(crate) struct LoggedConditions {
    pub(crate) stale: bool,
    pub(crate) other_agent: bool,
    pub(crate) rejected: Option<ErrorCode>,
    pub(crate) silent: bool,
    pub(crate) unreadable: Option<String>,
}

impl HeartbeatState {
    pub(crate) fn forget_in_flight(&mut self) {
        self.in_flight = None;
    }

    /// Notes the sequence number of a new result. The next heartbeat then contains the full
    /// inventory, because the result may change the record that the controller made from an earlier
    /// inventory.
    pub(crate) fn note_result(&mut self, sequence: u64) {
        self.last_result = sequence;
        self.accepted = None;
    }

    pub(crate) fn next_deadline(&self) -> u64 {
        match (&self.in_flight, &self.reading) {
            (Some(in_flight), _) => in_flight.deadline,
            (None, Some(reading)) if !reading.timed_out => reading.deadline,
            (None, _) => self.due,
        }
    }
}
