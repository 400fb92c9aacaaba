//! Full inventories: applies an inventory to the shards in the record.

use std::collections::BTreeSet;
use std::sync::Arc;

use scuttle_schemas::agents::ReportedShard;
use scuttle_schemas::shards::ShardState;
use scuttle_schemas::{DeckyId, Deployment, HostId, MAX_SHARDS_PER_HOST, Note, Text, Timestamp};

use crate::broadcast::shard_changes::ShardChanges;
use crate::record::change::Change;
use crate::record::rows::{HostRow, ShardRow};
use crate::reports::shard_limit::{select_leaving_shards, set_limit_note};
use crate::state::State;
use crate::state::host::{Host, Shard, insert_shard};
use crate::state::inventory::CompleteInventory;

impl State {
    /// Updates the shards of a host to match a full inventory.
    ///
    /// If the host would exceed its shard limit, shards that are no longer listed leave the record,
    /// and deckies for which there is no room are not registered.
    ///
    /// `heartbeat_before` is the time at which the previous heartbeat arrived. A shard that is no
    /// longer listed was last seen at that time.
    pub(crate) fn apply_inventory(
        &mut self,
        now: Timestamp,
        id: &HostId,
        inventory: CompleteInventory,
        heartbeat_before: Option<Timestamp>,
    ) {
        let Some(host) = self.hosts.get_mut(id) else {
            return;
        };
        let inventory = host.inventory.record_applied(inventory);
        let mut put = Vec::new();
        let mut removed = Vec::new();
        let reported: BTreeSet<DeckyId> = inventory
            .iter()
            .map(|shard| shard.decky_id.clone())
            .collect();
        for (decky, shard) in &mut host.shards {
            let is_listed = reported.contains(decky);
            if shard.listed && !is_listed {
                let last_seen = heartbeat_before.unwrap_or(shard.row.last_seen);
                Arc::make_mut(&mut shard.row).last_seen = last_seen;
            }
            shard.listed = is_listed;
            if !is_listed {
                match decide_unlisted(shard) {
                    UnlistedShard::Put(row) => put.push(*row),
                    UnlistedShard::Remove => removed.push(decky.clone()),
                    UnlistedShard::Keep => {}
                }
            }
        }
        let is_new = |shard: &&ReportedShard| !host.shards.contains_key(&shard.decky_id);
        let new = inventory.iter().filter(is_new).count();
        let count = host.shards.len() - removed.len() + new;
        let leaving: BTreeSet<DeckyId> =
            (select_leaving_shards(host, now, count).into_iter()).collect();
        put.retain(|row: &ShardRow| !leaving.contains(&row.decky));
        removed.extend(leaving);
        let kept = host.shards.len() - removed.len();
        let mut free = MAX_SHARDS_PER_HOST.saturating_sub(kept);
        let mut unregistered = 0;
        let next_revision = self.meta.revisions.shards + 1;
        for shard in inventory {
            if !host.shards.contains_key(&shard.decky_id) {
                if free == 0 {
                    unregistered += 1;
                    continue;
                }
                free -= 1;
            }
            match decide_listed(host, shard, now, next_revision) {
                ListedShard::Put(row) => put.push(row),
                ListedShard::PutSilently(row) => {
                    let row = Arc::new(row);
                    self.batch.mark_host_changed(id);
                    self.batch.changes.push(Change::Shard(Arc::clone(&row)));
                    insert_shard(&mut host.shards, &mut self.stats, row);
                }
                ListedShard::Keep => {}
            }
        }
        let changes = ShardChanges {
            host: id,
            cause: None,
            put,
            removed,
        };
        self.change_shards(now, changes);
        if let Some(host) = self.hosts.get_mut(id) {
            for shard in host
                .shards
                .values_mut()
                .filter(|shard| reported.contains(&shard.row.decky))
            {
                shard.listed = true;
            }
            let notes = set_limit_note(host.row.notes.clone(), unregistered);
            if notes != host.row.notes {
                let row = HostRow {
                    notes,
                    ..host.row.clone()
                };
                self.put_reported_host(now, row);
            }
        }
        self.schedule_removal(now, id);
    }
}

/// The action for a shard that a full inventory does not list.
enum UnlistedShard {
    Put(Box<ShardRow>),
    Remove,
    Keep,
}

/// The action for a shard that a full inventory lists.
enum ListedShard {
    Put(ShardRow),
    /// A row to store without an announcement, because only the reported state has changed, which
    /// operators do not see.
    PutSilently(ShardRow),
    Keep,
}

fn decide_unlisted(shard: &Shard) -> UnlistedShard {
    match shard.row.state {
        ShardState::TeardownFailed => UnlistedShard::Remove,
        // The operation decides, at its deadline at the latest.
        ShardState::TearingDown => UnlistedShard::Keep,
        ShardState::Pending | ShardState::Running | ShardState::Failed | ShardState::Degraded => {
            let row = ShardRow::clone(&shard.row).into_unreported();
            if row == *shard.row {
                UnlistedShard::Keep
            } else {
                UnlistedShard::Put(Box::new(row))
            }
        }
    }
}

fn decide_listed(
    host: &Host,
    shard: ReportedShard,
    now: Timestamp,
    next_revision: u64,
) -> ListedShard {
    let recorded = host.shards.get(&shard.decky_id).map(|shard| &*shard.row);
    // A decky that was deployed again is registered again: the operations of the earlier deployment
    // neither hold the new one nor decide on its state.
    let known = recorded.filter(|row| !is_redeployed(row, shard.deployment.as_ref()));
    let (state, last_error) = match known {
        // An inventory does not clear the state or the error that an operation has set.
        Some(row)
            if matches!(
                row.state,
                ShardState::TearingDown | ShardState::TeardownFailed
            ) =>
        {
            (row.state, row.last_error.clone())
        }
        _ => (ShardState::from(shard.state), reason(shard.reason)),
    };
    let row = ShardRow {
        host: host.row.host.clone(),
        decky: shard.decky_id,
        ip: shard.decky_ip,
        services: shard.services,
        labels: shard.labels,
        state,
        reported: shard.state,
        last_error,
        operation: known.and_then(|row| row.operation),
        last_seen: known.map_or(now, |row| row.last_seen),
        updated_at: known.map_or(now, |row| row.updated_at),
        revision: known.map_or(next_revision, |row| row.revision),
        registered: known.map_or(next_revision, |row| row.registered),
        first_listed_in: match known {
            Some(row) => row.first_listed_in,
            None => host.inventory.applied_report,
        },
        // An agent that does not report the deployment this time says nothing about it.
        deployment: (shard.deployment).or_else(|| known.and_then(|row| row.deployment.clone())),
        // Protection applies to the name of the decky, whatever is deployed under that name.
        protected: recorded.is_some_and(|row| row.protected),
    };
    match known {
        Some(known) if row == *known => ListedShard::Keep,
        Some(known) if differs_only_in_reported(&row, known) => ListedShard::PutSilently(row),
        _ => ListedShard::Put(ShardRow {
            last_seen: now,
            ..row
        }),
    }
}

/// Returns the reason that an agent reports for the state of a shard, as the shard's last error.
fn reason(reported: Option<Note>) -> Option<Text> {
    reported.map(|reason| Text::from(reason.as_str()))
}

/// Returns whether an agent reports another deployment of the decky than the one in the record.
/// Without a deployment on either side, the decky counts as the same.
fn is_redeployed(known: &ShardRow, reported: Option<&Deployment>) -> bool {
    let known = known.deployment.as_ref();
    known.is_some() && reported.is_some() && known != reported
}

fn differs_only_in_reported(row: &ShardRow, known: &ShardRow) -> bool {
    let row = ShardRow {
        reported: known.reported,
        ..row.clone()
    };
    row == *known
}

#[cfg(test)]
mod tests {
    use scuttle_schemas::operations::OperationState;
    use scuttle_schemas::shards::ShardState;

    use crate::tests::scenario::{Scenario, report};

    /// Returns a swarm whose host `h` runs the deployment `1` of `a`, and nothing else.
    fn swarm_with_deployment() -> Scenario {
        let mut swarm = Scenario::new();
        swarm.enroll("worker-h", Some("h")).expect("new");
        swarm.heartbeat_with_deployments("h", report(7, 1), &[("a", "1")]);
        swarm
    }

    fn deployment(swarm: &mut Scenario) -> Option<String> {
        let shards = swarm.shards("h");
        let deployment = shards[0].deployment.as_ref();
        deployment.map(|deployment| deployment.as_str().to_owned())
    }

    #[test]
    fn a_redeployed_decky_loses_the_failure_of_the_earlier_deployment() {
        let mut swarm = swarm_with_deployment();
        let (accepted, _) = swarm.teardown("h", Some("a")).expect("accepted");
        let failed = [("a", Some("container busy"))];
        swarm.report_result("h", report(7, 2), accepted.operation_id, None, &failed);
        swarm.heartbeat_with_deployments("h", report(7, 3), &[("a", "1")]);
        assert_eq!(swarm.states("h"), "a:TeardownFailed");
        swarm.crash_and_restart();
        swarm.heartbeat_with_deployments("h", report(7, 4), &[("a", "2")]);
        let shard = &swarm.shards("h")[0];
        assert_eq!(shard.state, ShardState::Running);
        assert_eq!((&shard.last_error, shard.operation_id), (&None, None));
        assert_eq!(deployment(&mut swarm).as_deref(), Some("2"));
        // A report of the earlier deployment that arrives late changes nothing.
        swarm.heartbeat_with_deployments("h", report(7, 3), &[("a", "1")]);
        assert_eq!(deployment(&mut swarm).as_deref(), Some("2"));
        assert_eq!(swarm.states("h"), "a:Running");
    }

    #[test]
    fn the_reason_for_a_state_is_the_last_error_until_the_state_is_better() {
        let mut swarm = swarm_with_deployment();
        let reason = |swarm: &mut Scenario| {
            let shards = swarm.shards("h");
            let error = shards[0].last_error.as_ref();
            error.map(|error| error.as_str().to_owned())
        };
        let exited = "container a-ssh exited with code 137";
        swarm.heartbeat_with_reason("h", report(7, 2), "a", Some(exited));
        assert_eq!(reason(&mut swarm).as_deref(), Some(exited));
        swarm.crash_and_restart();
        assert_eq!(reason(&mut swarm).as_deref(), Some(exited));
        // The reason returns with the first inventory after an operation that was cancelled.
        let (accepted, _) = swarm.teardown("h", Some("a")).expect("accepted");
        swarm.heartbeat_with_reason("h", report(7, 3), "a", Some(exited));
        assert_eq!(swarm.states("h"), "a:TearingDown");
        assert_eq!(reason(&mut swarm), None);
        swarm.try_cancel(accepted.operation_id);
        assert!(swarm.heartbeat("h", report(7, 4), None).0.send_inventory);
        swarm.heartbeat_with_reason("h", report(7, 5), "a", Some(exited));
        assert_eq!(reason(&mut swarm).as_deref(), Some(exited));
        swarm.heartbeat_with_reason("h", report(7, 6), "a", None);
        assert_eq!(reason(&mut swarm), None);
    }

    #[test]
    fn a_redeployed_decky_is_no_longer_held_by_an_open_operation() {
        let mut swarm = swarm_with_deployment();
        let (first, _) = swarm.teardown("h", Some("a")).expect("accepted");
        swarm.heartbeat_with_deployments("h", report(7, 2), &[("a", "2")]);
        assert_eq!(swarm.states("h"), "a:Running");
        let (second, _) = swarm.teardown("h", Some("a")).expect("accepted");
        assert_ne!(first.operation_id, second.operation_id);
        assert!(!second.repeated);
        // At the deadline of the first operation, its deployment is known to be gone.
        swarm.advance_ms(1000);
        swarm.report_started("h", 7, second.operation_id);
        swarm.heartbeat_with_deployments("h", report(7, 3), &[("a", "2")]);
        swarm.advance_ms(600_000);
        let states = [first, second].map(|it| swarm.operation(it.operation_id).state);
        assert_eq!(
            states,
            [OperationState::Succeeded, OperationState::TimedOut]
        );
    }

    #[test]
    fn an_operation_that_was_accepted_in_the_same_batch_does_not_cover_the_new_deployment() {
        let mut swarm = swarm_with_deployment();
        let (first, _) = swarm.teardown("h", Some("a")).expect("accepted");
        swarm.heartbeat_with_deployments("h", report(7, 2), &[("a", "2")]);
        let registered = swarm.shards("h")[0].revision;
        let operation = &swarm.state.operations[&first.operation_id];
        assert!(registered > operation.covers_until);
    }

    #[test]
    fn a_decky_without_a_deployment_counts_as_the_same_decky() {
        for (before, after, known) in [
            ("1", "1", Some("1")),
            ("", "2", Some("2")),
            ("1", "", Some("1")),
            ("", "", None),
        ] {
            let mut swarm = Scenario::new();
            swarm.enroll("worker-h", Some("h")).expect("new");
            swarm.heartbeat_with_deployments("h", report(7, 1), &[("a", before)]);
            let (accepted, _) = swarm.teardown("h", Some("a")).expect("accepted");
            swarm.heartbeat_with_deployments("h", report(7, 2), &[("a", after)]);
            assert_eq!(swarm.states("h"), "a:TearingDown");
            let failed = [("a", Some("container busy"))];
            swarm.report_result("h", report(7, 3), accepted.operation_id, None, &failed);
            assert_eq!(swarm.states("h"), "a:TeardownFailed");
            swarm.heartbeat_with_deployments("h", report(7, 4), &[("a", after)]);
            assert_eq!(
                swarm.states("h"),
                "a:TeardownFailed",
                "{before:?} {after:?}"
            );
            assert_eq!(deployment(&mut swarm).as_deref(), known);
        }
    }
}
