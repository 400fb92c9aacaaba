//! The delivery of an operation's command to its agent. Deliveries are kept in memory only: they
//! are neither stored nor broadcast, and a process that starts sends the commands again.

use std::collections::BTreeSet;

use scuttle_schemas::{OperationId, Timestamp};

use crate::state::timers::Timer;

/// What this process knows about the delivery of one command: the teardown command of an open
/// operation, or the cancel command of a cancelled one.
#[derive(Debug, Default)]
pub(crate) struct Delivery {
    /// The number of times that the teardown command was sent. After a start, the count continues
    /// from the stored row.
    pub(crate) attempts: u32,
    /// The number of times that the command was sent since the retry delay was last reset. The
    /// retry delay grows with this number.
    pub(crate) unanswered: u32,
    /// Whether the agent's current boot has acknowledged the command.
    pub(crate) is_received: bool,
    /// The time of the timer that sends the command again. `None` while no retry is scheduled.
    next_attempt_at: Option<Timestamp>,
}

impl Delivery {
    pub(crate) fn next_attempt_at(&self) -> Option<Timestamp> {
        self.next_attempt_at
    }

    /// Sets or, with `None`, removes the timer that sends the command again.
    pub(crate) fn schedule(
        &mut self,
        timers: &mut BTreeSet<(Timestamp, Timer)>,
        id: OperationId,
        at: Option<Timestamp>,
    ) {
        if let Some(before) = self.next_attempt_at {
            timers.remove(&(before, Timer::Retry(id)));
        }
        self.next_attempt_at = at;
        timers.extend(at.map(|at| (at, Timer::Retry(id))));
    }
}
