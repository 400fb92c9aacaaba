//! Retention: removes operations that ended long ago, and expired idempotency keys.

use scuttle_schemas::Timestamp;

use crate::record::change::Change;
use crate::state::State;

/// The retention period of an ended operation, in milliseconds: 30 days.
const OPERATION_RETENTION_MS: i64 = 30 * 24 * 3600 * 1000;

/// The maximum number of ended operations that are kept. (It is lower in tests, to reach the limit
/// quickly.)
const MAX_ENDED_OPERATIONS: usize = if cfg!(test) { 100 } else { 100_000 };

/// The maximum number of operations, and of keys, that one batch removes, so that no request waits
/// long. The remaining removals are due immediately, in the next batch.
const MAX_REMOVALS_PER_BATCH: usize = 1_024;

impl State {
    /// Returns the time at which the next removal of a row is due, or `None` if there is no ended
    /// operation and no key.
    pub(crate) fn next_removal_at(&self) -> Option<Timestamp> {
        let operation = match self.ended_operations.first() {
            Some((at, _)) if self.ended_operations.len() > MAX_ENDED_OPERATIONS => Some(*at),
            oldest => oldest.map(|(at, _)| at.plus_millis(OPERATION_RETENTION_MS)),
        };
        let key = self.idempotency_keys.next_expiry();
        [operation, key].into_iter().flatten().min()
    }

    /// Removes the operations and keys that have expired, and the oldest ended operations above the
    /// limit. Removes at most `MAX_REMOVALS_PER_BATCH` of each.
    pub(crate) fn remove_expired_rows(&mut self, now: Timestamp) {
        for _ in 0..MAX_REMOVALS_PER_BATCH {
            let Some((at, id)) = self.ended_operations.first().copied() else {
                break;
            };
            let is_within_limit = self.ended_operations.len() <= MAX_ENDED_OPERATIONS;
            if is_within_limit && at.plus_millis(OPERATION_RETENTION_MS) > now {
                break;
            }
            self.remove_operation(id);
            self.batch.operations.remove(&id);
            self.batch.changes.push(Change::OperationRemoved { id });
        }
        for _ in 0..MAX_REMOVALS_PER_BATCH {
            let Some(id) = self.idempotency_keys.remove_expired(now) else {
                break;
            };
            self.batch.changes.push(Change::KeyRemoved { id });
        }
    }
}

#[cfg(test)]
mod tests {
    use scuttle_schemas::ErrorCode;

    use super::{MAX_ENDED_OPERATIONS, OPERATION_RETENTION_MS};
    use crate::tests::scenario::{Scenario, report};

    #[test]
    fn an_ended_operation_is_kept_for_thirty_days_and_an_open_one_is_kept_always() {
        let mut swarm = Scenario::new();
        swarm.enroll("worker-h", Some("h")).expect("new");
        swarm.heartbeat("h", report(1, 1), Some(&["a", "b"]));
        let (ended, _) = swarm.teardown("h", Some("a")).expect("accepted");
        let removed = [("a", None)];
        swarm.report_result("h", report(1, 2), ended.operation_id, None, &removed);
        swarm.advance_ms(OPERATION_RETENTION_MS - 1_000);
        swarm.operation(ended.operation_id);
        let (open, _) = swarm.teardown("h", Some("b")).expect("accepted");
        swarm.advance_ms(1_000);
        let error = swarm.find_operation(ended.operation_id);
        let error = error.expect_err("the operation is removed");
        assert_eq!(error.code, ErrorCode::OperationNotFound);
        swarm.crash_and_restart();
        swarm
            .find_operation(ended.operation_id)
            .expect_err("the operation is removed on disk too");
        swarm.operation(open.operation_id);
    }

    #[test]
    fn the_oldest_ended_operations_are_removed_above_the_limit() {
        let mut swarm = Scenario::new();
        swarm.enroll("worker-h", Some("h")).expect("new");
        let mut ended = Vec::new();
        for sequence in 0..MAX_ENDED_OPERATIONS as u64 + 2 {
            let (operation, _) = swarm.teardown("h", None).expect("accepted");
            swarm.report_result("h", report(1, sequence), operation.operation_id, None, &[]);
            ended.push(operation.operation_id);
            swarm.advance_ms(1);
        }
        for id in &ended[..2] {
            swarm.find_operation(*id).expect_err("removed");
        }
        for id in &ended[2..] {
            swarm.find_operation(*id).expect("kept");
        }
    }
}
