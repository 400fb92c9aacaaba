//! Restores a backup. The records stay as they were, but every revision is raised above all
//! revisions that may have been broadcast since the backup was made. Otherwise a subscriber would
//! consider a restored record older than the record that it already has.

use std::sync::Arc;

use scuttle_schemas::Timestamp;

use crate::record::change::Change;
use crate::record::rows::{Meta, Revisions, ShardRow};

/// The revisions of a restored record start at this number times the milliseconds since 1970.
///
/// The clock is used because a value that is computed from the backup alone would be the same for
/// two restores of one backup, and so would be lower than revisions that were broadcast between the
/// two restores. No controller sends a thousand broadcasts in a millisecond. The product stays
/// below 2^53, the largest integer that JSON readers represent exactly, until the year 2248.
const REVISIONS_PER_MS: u64 = 1 << 10;

/// The minimum increase of a revision, in case the clock is behind. It exceeds the number of
/// broadcasts that a controller sends between a backup and its restore.
const MIN_INCREASE: u64 = 1 << 40;

/// The revisions at which a restored record starts.
#[derive(Debug, Clone, Copy)]
pub struct RaisedRevisions(Revisions);

impl RaisedRevisions {
    /// Computes the revisions for a record that is restored at the time `now` and whose last
    /// revisions were `last`.
    pub fn new(last: Revisions, now: Timestamp) -> Self {
        let clock = now.as_millis().unsigned_abs() * REVISIONS_PER_MS;
        let raise = |last: u64| last.saturating_add(MIN_INCREASE).max(clock);
        Self(Revisions {
            shards: raise(last.shards),
            hosts: raise(last.hosts),
            operations: raise(last.operations),
        })
    }

    /// Returns the change with its revisions raised. Every shard gets the same revision, as if one
    /// message had announced all of them.
    ///
    /// The fields `registered` and `covers_until` keep their values. They are only compared with
    /// each other, and shards and operations that are added after the restore get higher values.
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
    use scuttle_schemas::Timestamp;
    use scuttle_schemas::operations::OperationState;

    use super::{Change, MIN_INCREASE, RaisedRevisions};
    use crate::tests::scenario::{Scenario, report};

    /// Replaces the journal with the restored backup, and starts a process from it.
    fn restore(swarm: &mut Scenario, backup: &[Change]) {
        let revisions = |change: &_| match change {
            Change::Meta(meta) => Some(meta.revisions),
            _ => None,
        };
        let last = backup.iter().rev().find_map(revisions).expect("a meta row");
        let raised = RaisedRevisions::new(last, swarm.now);
        let restored = backup.iter().map(|change| raised.apply_to(change.clone()));
        swarm.journal = restored.collect();
        swarm.crash_and_restart();
    }

    /// Returns a swarm and an older backup of it. The backup has a host with `a` and `b`, and an
    /// open operation on `a`. Since the backup, `a` was removed and `c` was deployed.
    fn swarm_ahead_of_backup() -> (Scenario, Vec<Change>) {
        let mut swarm = Scenario::new();
        swarm.enroll("worker-h", Some("h")).expect("new");
        swarm.heartbeat("h", report(7, 1), Some(&["a", "b"]));
        let (accepted, _) = swarm.teardown("h", Some("a")).expect("accepted");
        let backup = swarm.journal.clone();
        swarm.advance_ms(1000);
        let removed = [("a", None)];
        swarm.report_result("h", report(7, 2), accepted.operation_id, None, &removed);
        swarm.heartbeat("h", report(7, 3), Some(&["b", "c"]));
        (swarm, backup)
    }

    #[test]
    fn every_restored_record_is_newer_than_all_earlier_broadcasts() {
        let (mut swarm, backup) = swarm_ahead_of_backup();
        let mut last = swarm.state.meta.revisions;
        // The same backup is restored twice: what was broadcast in between counts too.
        for _ in 0..2 {
            swarm.advance_ms(1000);
            restore(&mut swarm, &backup);
            let shards = swarm.shards("h");
            let names: Vec<_> = shards.iter().map(|shard| shard.decky_id.as_str()).collect();
            assert_eq!(names, ["a", "b"]);
            assert!(shards.iter().all(|shard| shard.revision > last.shards));
            let after = swarm.state.meta.revisions;
            assert!(after.hosts > last.hosts && after.operations > last.operations);
            swarm.heartbeat("h", report(8, 1), Some(&["b", "c"]));
            last = swarm.state.meta.revisions;
            assert!(last.shards > after.shards);
        }
    }

    #[test]
    fn revisions_rise_even_if_the_clock_was_set_back() {
        let (mut swarm, backup) = swarm_ahead_of_backup();
        let last = swarm.state.meta.revisions;
        swarm.now = Timestamp::from_millis(0);
        restore(&mut swarm, &backup);
        assert!(swarm.shards("h")[0].revision > last.shards + MIN_INCREASE / 2);
    }

    /// When the command is resent, the agent repeats the result from its ledger. The agent's next
    /// inventory corrects the rest of the record.
    #[test]
    fn agents_correct_a_restored_record() {
        let (mut swarm, backup) = swarm_ahead_of_backup();
        let operation = *swarm.state.operations.keys().next().expect("one");
        restore(&mut swarm, &backup);
        assert_eq!(swarm.states("h"), "a:TearingDown b:Running");
        // The result keeps its old sequence number, and so arrives after a later report.
        swarm.heartbeat("h", report(7, 4), Some(&["b", "c"]));
        swarm.report_result("h", report(7, 2), operation, None, &[("a", None)]);
        assert_eq!(swarm.operation(operation).state, OperationState::Succeeded);
        assert_eq!(swarm.states("h"), "b:Running c:Running");
    }

    /// `a` was deployed again before the restore, and the result of the old operation removes it
    /// from the record. The next inventory registers `a` again.
    #[test]
    fn a_decky_that_was_deployed_again_before_a_restore_is_registered_again() {
        let (mut swarm, backup) = swarm_ahead_of_backup();
        let operation = *swarm.state.operations.keys().next().expect("one");
        swarm.heartbeat("h", report(7, 4), Some(&["a", "b"]));
        restore(&mut swarm, &backup);
        swarm.heartbeat("h", report(7, 5), Some(&["a", "b"]));
        swarm.report_result("h", report(7, 2), operation, None, &[("a", None)]);
        assert_eq!(swarm.states("h"), "b:Running");
        let (reply, _) = swarm.heartbeat("h", report(7, 6), None);
        assert!(
            reply.send_inventory,
            "an older result arrived after the inventory"
        );
        swarm.heartbeat("h", report(7, 7), Some(&["a", "b"]));
        assert_eq!(swarm.states("h"), "a:Running b:Running");
    }
}
