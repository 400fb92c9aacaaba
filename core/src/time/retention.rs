//! What is forgotten: operations that ended long ago, and idempotency keys past their day.

use scuttle_schemas::Timestamp;

use crate::record::change::Change;
use crate::state::State;

/// How long an ended operation is kept, in milliseconds: 30 days.
const KEPT_MS: i64 = 30 * 24 * 3600 * 1000;

/// How many ended operations are kept. (A test makes do with fewer.)
const MOST_ENDED: usize = if cfg!(test) { 100 } else { 100_000 };

/// The most that one batch forgets of each kind, so that nobody waits long for it; what is left is due at
/// once.
const RETIRED_PER_BATCH: usize = 1_024;

impl State {
    /// When something is next to be forgotten.
    pub(crate) fn retires_at(&self) -> Option<Timestamp> {
        let ended = match self.ended.first() {
            Some((at, _)) if self.ended.len() > MOST_ENDED => Some(*at),
            oldest => oldest.map(|(at, _)| at.plus_millis(KEPT_MS)),
        };
        [ended, self.keys.expires_at()].into_iter().flatten().min()
    }

    /// Forgets what is due, or too much.
    pub(crate) fn retire(&mut self, now: Timestamp) {
        for _ in 0..RETIRED_PER_BATCH {
            let Some((at, id)) = self.ended.first().copied() else {
                break;
            };
            if self.ended.len() <= MOST_ENDED && at.plus_millis(KEPT_MS) > now {
                break;
            }
            self.delete_operation(id);
            self.batch.operations.remove(&id);
            self.batch.changes.push(Change::OperationRemoved { id });
        }
        for _ in 0..RETIRED_PER_BATCH {
            let Some(id) = self.keys.take_expired(now) else {
                break;
            };
            self.batch.changes.push(Change::KeyRemoved { id });
        }
    }
}

#[cfg(test)]
mod tests {
    use scuttle_schemas::ErrorCode;

    use super::{KEPT_MS, MOST_ENDED};
    use crate::tests::scenario::Scenario;

    #[test]
    fn an_ended_operation_is_kept_thirty_days_and_an_open_one_as_long_as_it_is_open() {
        let mut swarm = Scenario::new();
        swarm.enroll("worker-h", Some("h")).expect("new");
        swarm.heartbeat("h", (1, 1), Some(&["a", "b"]));
        let (ended, _) = swarm.teardown("h", Some("a")).expect("accepted");
        swarm.result("h", (1, 2), ended.operation_id, None, &[("a", None)]);
        swarm.after_ms(KEPT_MS - 1_000);
        swarm.operation(ended.operation_id);
        let (open, _) = swarm.teardown("h", Some("b")).expect("accepted");
        swarm.after_ms(1_000);
        let refusal = swarm.find(ended.operation_id).expect_err("forgotten");
        assert_eq!(refusal.code, ErrorCode::OperationNotFound);
        swarm.crash();
        swarm
            .find(ended.operation_id)
            .expect_err("forgotten on disk too");
        swarm.operation(open.operation_id);
    }

    #[test]
    fn of_too_many_ended_operations_the_oldest_go() {
        let mut swarm = Scenario::new();
        swarm.enroll("worker-h", Some("h")).expect("new");
        let mut ended = Vec::new();
        for sequence in 0..MOST_ENDED as u64 + 2 {
            let (operation, _) = swarm.teardown("h", None).expect("accepted");
            swarm.result("h", (1, sequence), operation.operation_id, None, &[]);
            ended.push(operation.operation_id);
            swarm.after_ms(1);
        }
        for id in &ended[..2] {
            swarm.find(*id).expect_err("forgotten");
        }
        for id in &ended[2..] {
            swarm.find(*id).expect("kept");
        }
    }
}
