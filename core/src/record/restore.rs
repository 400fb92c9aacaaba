//! Going back to a backup: what the record says stays as it was, but no subscriber may take it for older than what it
//! knows. So every revision rises above all that can have been told since the backup was made.

use std::sync::Arc;

use scuttle_schemas::Timestamp;

use crate::record::change::Change;
use crate::record::rows::{Meta, Revisions, ShardRow};

/// Revisions for each millisecond since 1970 that a restored record begins at. Not a sum on what the backup has alone:
/// that would come out the same when one backup is restored twice, and below what was told in between. No controller
/// tells a thousand messages in each millisecond, and in JSON a number is exact (up to 2^53) until the year 2248.
const PER_MILLISECOND: u64 = 1 << 10;

/// What the revisions rise by at the least, should the clock be behind: more messages than any controller tells
/// between a backup and its restore.
const LEAST: u64 = 1 << 40;

/// Where the revisions of a restored record begin.
#[derive(Debug, Clone, Copy)]
pub struct RaisedRevisions(Revisions);

impl RaisedRevisions {
    /// For a record whose last revisions are `last`, restored `now`.
    pub fn new(last: Revisions, now: Timestamp) -> Self {
        let clock = now.as_millis().unsigned_abs() * PER_MILLISECOND;
        let raised = |last: u64| last.saturating_add(LEAST).max(clock);
        Self(Revisions {
            shards: raised(last.shards),
            hosts: raised(last.hosts),
            operations: raised(last.operations),
        })
    }

    /// A stored change as it is restored: every shard as if one message had told them all.
    ///
    /// What is only compared with its own kind stays: `registered` and `covers_until` say which deployment an operation
    /// was accepted for, and whatever is registered or accepted from now on comes after all of them.
    #[must_use]
    pub fn apply_to(&self, change: Change) -> Change {
        match change {
            Change::Meta(meta) => Change::Meta(Meta {
                revisions: self.0,
                ..meta
            }),
            Change::Shard(row) => Change::Shard(Arc::new(ShardRow {
                revision: self.0.shards,
                ..Arc::unwrap_or_clone(row)
            })),
            other @ (Change::Host(_)
            | Change::ShardRemoved { .. }
            | Change::Operation(_)
            | Change::OperationRemoved { .. }
            | Change::Key(_)
            | Change::KeyRemoved { .. }) => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use scuttle_schemas::operations::OperationState;

    use super::{Change, LEAST, RaisedRevisions};
    use crate::tests::scenario::Scenario;

    /// Goes back to a backup, and starts.
    fn restore(swarm: &mut Scenario, backup: &[Change]) {
        let last = |change: &_| match change {
            Change::Meta(meta) => Some(meta.revisions),
            _ => None,
        };
        let last = backup.iter().rev().find_map(last).expect("the swarm's row");
        let raised = RaisedRevisions::new(last, swarm.now);
        let restored = backup.iter().map(|change| raised.apply_to(change.clone()));
        swarm.journal = restored.collect();
        swarm.crash();
    }

    /// A host with `a` and `b`, `a` being torn down: what a backup has. Since then `a` is gone and `c` has come.
    fn gone_on() -> (Scenario, Vec<Change>) {
        let mut swarm = Scenario::new();
        swarm.enroll("worker-h", Some("h")).expect("new");
        swarm.heartbeat("h", (7, 1), Some(&["a", "b"]));
        let (accepted, _) = swarm.teardown("h", Some("a")).expect("accepted");
        let backup = swarm.journal.clone();
        swarm.after_ms(1000);
        swarm.result("h", (7, 2), accepted.operation_id, None, &[("a", None)]);
        swarm.heartbeat("h", (7, 3), Some(&["b", "c"]));
        (swarm, backup)
    }

    #[test]
    fn every_record_is_newer_than_all_that_was_told() {
        let (mut swarm, backup) = gone_on();
        let mut told = swarm.state.meta.revisions;
        // The same backup twice: what is told in between counts too.
        for _ in 0..2 {
            swarm.after_ms(1000);
            restore(&mut swarm, &backup);
            let shards = swarm.shards("h");
            let names: Vec<_> = shards.iter().map(|shard| shard.decky_id.as_str()).collect();
            assert_eq!(names, ["a", "b"]);
            assert!(shards.iter().all(|shard| shard.revision > told.shards));
            let after = swarm.state.meta.revisions;
            assert!(after.hosts > told.hosts && after.operations > told.operations);
            swarm.heartbeat("h", (8, 1), Some(&["b", "c"]));
            told = swarm.state.meta.revisions;
            assert!(told.shards > after.shards);
        }
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_matter() {
        let (mut swarm, backup) = gone_on();
        let told = swarm.state.meta.revisions;
        swarm.now = scuttle_schemas::Timestamp::from_millis(0);
        restore(&mut swarm, &backup);
        assert!(swarm.shards("h")[0].revision > told.shards + LEAST / 2);
    }

    /// The agent answers the command from its ledger, and its inventory mends the rest.
    #[test]
    fn the_agents_bring_the_record_back_to_the_truth() {
        let (mut swarm, backup) = gone_on();
        let operation = *swarm.state.operations.keys().next().expect("one");
        restore(&mut swarm, &backup);
        assert_eq!(swarm.states("h"), "a:TearingDown b:Running");
        // In either order; the result has its old number.
        swarm.heartbeat("h", (7, 4), Some(&["b", "c"]));
        swarm.result("h", (7, 2), operation, None, &[("a", None)]);
        assert_eq!(swarm.operation(operation).state, OperationState::Succeeded);
        assert_eq!(swarm.states("h"), "b:Running c:Running");
    }

    /// A decky that was deployed anew before the restore is not lost by the old operation's result.
    #[test]
    fn what_was_deployed_anew_meanwhile_is_found_again() {
        let (mut swarm, backup) = gone_on();
        let operation = *swarm.state.operations.keys().next().expect("one");
        swarm.heartbeat("h", (7, 4), Some(&["a", "b"]));
        restore(&mut swarm, &backup);
        swarm.heartbeat("h", (7, 5), Some(&["a", "b"]));
        swarm.result("h", (7, 2), operation, None, &[("a", None)]);
        assert_eq!(swarm.states("h"), "b:Running");
        let (answer, _) = swarm.heartbeat("h", (7, 6), None);
        assert!(
            answer.send_inventory,
            "an old result came after the inventory"
        );
        swarm.heartbeat("h", (7, 7), Some(&["a", "b"]));
        assert_eq!(swarm.states("h"), "a:Running b:Running");
    }
}
