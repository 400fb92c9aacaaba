//! The operations that ended, and the delivery state of each result.

use std::collections::BTreeMap;

use scuttle_schemas::{OperationId, Timestamp};

use crate::ledger::{Entry, FinishedTeardown};
use crate::machine::backoff::Jitter;
use crate::machine::input::Now;

/// The maximum number of results that wait for a reply at the same time. It is large enough to hide
/// the round trip to the controller, and small enough that an agent with many results does not
/// flood the controller.
pub(crate) const MAX_IN_FLIGHT: usize = 4;
/// The bounds of the delay before a result is resent, in milliseconds.
const MIN_RETRY_DELAY_MS: u64 = 500;
pub(crate) const MAX_RETRY_DELAY_MS: u64 = 30_000;
/// The retention of a recorded operation after its deadline, in milliseconds.
const RETENTION_MS: i64 = 120_000;

/// The operations that ended, and the deliveries of their results.
#[derive(Debug, Default)]
pub(crate) struct ResultDeliveries {
    pub(crate) finished: BTreeMap<OperationId, FinishedOperation>,
    /// The deliveries that the controller has not confirmed.
    pub(crate) open: BTreeMap<OperationId, Delivery>,
}

/// An operation that ended. It is kept until any further copy of its command would be rejected as
/// expired.
#[derive(Debug)]
pub(crate) struct FinishedOperation {
    pub(crate) finished: FinishedTeardown,
    /// Whether the controller has confirmed that the result is durable. The ledger contains the
    /// confirmation too.
    pub(crate) recorded: bool,
}

/// The state of the delivery of one result.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Delivery {
    pub(crate) attempts: u32,
    /// The time at which the result is sent next, in milliseconds on the monotonic clock. While the
    /// result is in flight, the time at which its reply times out.
    pub(crate) due: u64,
    pub(crate) in_flight: bool,
}

impl Delivery {
    fn due_at(now: Now) -> Self {
        Self {
            attempts: 0,
            due: now.monotonic_ms,
            in_flight: false,
        }
    }

    pub(crate) fn schedule_retry(&mut self, now: Now, jitter: &mut Jitter) {
        let delay = jitter.draw_delay(self.attempts, MIN_RETRY_DELAY_MS, MAX_RETRY_DELAY_MS);
        self.due = now.monotonic_ms.saturating_add(delay);
        self.in_flight = false;
    }
}

impl ResultDeliveries {
    /// Marks an operation as recorded when the ledger is read at start.
    pub(crate) fn restore_recorded(&mut self, operation_id: OperationId) {
        self.open.remove(&operation_id);
        if let Some(operation) = self.finished.get_mut(&operation_id) {
            operation.recorded = true;
        }
    }

    /// Adds a result, which is due immediately.
    pub(crate) fn add(&mut self, finished: FinishedTeardown, now: Now) {
        let operation_id = finished.result.operation_id;
        self.finished.insert(
            operation_id,
            FinishedOperation {
                finished,
                recorded: false,
            },
        );
        self.open.insert(operation_id, Delivery::due_at(now));
    }

    pub(crate) fn contains(&self, operation_id: OperationId) -> bool {
        self.finished.contains_key(&operation_id)
    }

    pub(crate) fn open_count(&self) -> usize {
        self.open.len()
    }

    /// Makes the result of an operation due immediately, because a further command for the
    /// operation shows that the controller may not have the result. A result in flight is not
    /// resent.
    pub(crate) fn schedule_resend(&mut self, operation_id: OperationId, now: Now) {
        let delivery = self
            .open
            .entry(operation_id)
            .or_insert(Delivery::due_at(now));
        if !delivery.in_flight {
            delivery.due = now.monotonic_ms;
        }
    }

    /// Makes all open results due immediately, as if they had never been sent. Called when the
    /// connection is lost or restored, and when a silent controller replies again: earlier delays
    /// and requests no longer matter then.
    pub(crate) fn schedule_all(&mut self, now: Now) {
        for delivery in self.open.values_mut() {
            *delivery = Delivery::due_at(now);
        }
    }

    /// Removes the recorded operations whose command has expired, so that a further copy would not
    /// be executed.
    pub(crate) fn remove_expired(&mut self, now: Timestamp) {
        let open = &self.open;
        self.finished.retain(|id, operation| {
            !operation.recorded
                || open.contains_key(id)
                || now.millis_since(operation.finished.not_after) <= RETENTION_MS
        });
    }

    pub(crate) fn next_deadline(&self) -> Option<u64> {
        let may_send = self.in_flight() < MAX_IN_FLIGHT;
        self.open
            .values()
            .filter(|delivery| delivery.in_flight || may_send)
            .map(|delivery| delivery.due)
            .min()
    }

    fn in_flight(&self) -> usize {
        self.open
            .values()
            .filter(|delivery| delivery.in_flight)
            .count()
    }

    pub(crate) fn to_entries(&self) -> impl Iterator<Item = Entry> {
        self.finished.iter().flat_map(|(id, operation)| {
            let recorded = operation
                .recorded
                .then_some(Entry::Recorded { operation_id: *id });
            std::iter::once(Entry::Finished(operation.finished.clone())).chain(recorded)
        })
    }
}
