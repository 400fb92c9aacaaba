//! The deadline of an operation. At the deadline, a shard counts as absent if its deployment is no
//! longer in the record, or if an inventory from after the acceptance does not list it. The
//! teardown of every other shard counts as failed.

use scuttle_schemas::operations::{OperationState, ShardOutcome, UNDELIVERED, UNFINISHED};
use scuttle_schemas::shards::ShardState;
use scuttle_schemas::{OperationId, Text, Timestamp};

use crate::broadcast::shard_changes::ShardChanges;
use crate::record::operation_state::OperationEvent;
use crate::record::rows::{OperationRow, ShardRow};
use crate::state::State;

/// The error for a shard that a newer operation has taken over.
const TAKEN_OVER: &str = "taken over by a newer operation";

impl State {
    /// Ends an open operation at its deadline, and updates the shards that it covers.
    pub(crate) fn expire_operation(&mut self, now: Timestamp, id: OperationId) {
        let Some(operation) = self.operations.get(&id) else {
            return;
        };
        let mut operation = OperationRow::clone(operation);
        let Some(host) = self.hosts.get(&operation.host) else {
            return;
        };
        let has_started = operation.state == OperationState::Running;
        let error = match &host.row.inventory_error {
            _ if !has_started => Text::from(UNDELIVERED),
            Some(cause) => Text::from(format!("{UNFINISHED}: {}", cause.as_str()).as_str()),
            None => Text::from(UNFINISHED),
        };
        // An inventory from before the acceptance proves nothing.
        let has_proof = host.inventory.is_newer_than(id);

        let mut put = Vec::new();
        let mut removed = Vec::new();
        // For a host without shards, only an inventory proves that nothing is left.
        let mut has_remaining = !has_proof && operation.outcomes.is_empty();
        for outcome in &mut operation.outcomes {
            let shard = host.shards.get(&outcome.decky);
            match shard.filter(|shard| shard.row.operation == Some(id)) {
                Some(shard) if has_proof && !shard.listed => {
                    outcome.outcome = ShardOutcome::Absent;
                    removed.push(outcome.decky.clone());
                }
                Some(shard) => {
                    has_remaining = true;
                    outcome.outcome = ShardOutcome::Failed;
                    outcome.error = Some(error.clone());
                    put.push(ShardRow {
                        state: ShardState::TeardownFailed,
                        last_error: Some(error.clone()),
                        last_seen: shard.last_seen(host.inventory_seen_at),
                        ..ShardRow::clone(&shard.row)
                    });
                }
                // A newer operation holds the same deployment of the decky.
                None if shard
                    .is_some_and(|shard| shard.row.registered <= operation.covers_until) =>
                {
                    has_remaining = true;
                    outcome.outcome = ShardOutcome::Failed;
                    outcome.error = Some(Text::from(TAKEN_OVER));
                }
                // The decky is gone, or was deployed again.
                None => outcome.outcome = ShardOutcome::Absent,
            }
        }
        let event = if has_remaining {
            OperationEvent::Expired
        } else {
            OperationEvent::ProvenGone
        };
        if operation.transition(event, now).is_err() {
            return;
        }
        operation.error = has_remaining.then_some(error);
        let changes = ShardChanges {
            host: &operation.host,
            cause: Some(&operation),
            put,
            removed,
        };
        self.change_shards(now, changes);
        self.put_operation(operation);
    }
}

#[cfg(test)]
mod tests {
    use scuttle_schemas::operations::OperationState;

    use crate::tests::scenario::{Page, Scenario, report};

    #[test]
    fn an_operation_names_what_its_agent_cannot_reach_while_it_waits_and_when_it_has_timed_out() {
        const CAUSE: &str = "cannot reach the Docker Engine at unix:///var/run/docker.sock";
        let mut swarm = Scenario::new();
        swarm.enroll("worker-h", Some("h")).expect("new");
        swarm.heartbeat("h", report(7, 1), Some(&["a"]));
        let (accepted, _) = swarm.teardown("h", Some("a")).expect("accepted");
        let id = accepted.operation_id;
        swarm.report_started("h", 7, id);
        let what = |swarm: &mut Scenario| {
            let waiting_for = swarm.operation(id).waiting_for.expect("open");
            (
                waiting_for.what.into_owned(),
                waiting_for.detail.into_owned(),
            )
        };
        assert_eq!(what(&mut swarm).0, "teardown");
        swarm.inventory_error = Some(CAUSE);
        swarm.heartbeat("h", report(7, 2), None);
        let (waits_for, detail) = what(&mut swarm);
        assert_eq!(waits_for, "runtime");
        assert!(
            detail.contains(CAUSE) && detail.contains("started"),
            "{detail}"
        );
        swarm.advance_online_ms("h", report(7, 2), 610_000);
        let operation = swarm.operation(id);
        assert_eq!(operation.state, OperationState::TimedOut);
        let expected = format!("unfinished: {CAUSE}");
        let error = operation.error.expect("an error");
        assert_eq!(error.as_str(), expected);
        let shards = swarm.shards("h");
        let error = shards[0].last_error.as_ref().expect("an error");
        assert_eq!(error.as_str(), expected);
    }

    /// The agent read the inventory before the acceptance, and `a` may have been deployed since.
    #[test]
    fn an_inventory_whose_first_page_arrived_before_the_acceptance_proves_nothing() {
        for (pages_before, expected) in [
            (0, OperationState::Succeeded),
            (1, OperationState::TimedOut),
            (2, OperationState::TimedOut),
        ] {
            let mut swarm = Scenario::new();
            swarm.enroll("worker-h", Some("h")).expect("new");
            swarm.heartbeat("h", report(7, 1), Some(&["a", "b", "c"]));
            let pages = [(1, "b"), (2, "c")];
            let mut operation = None;
            for (sent, (page, decky)) in pages.into_iter().enumerate() {
                if sent == pages_before {
                    let (accepted, _) = swarm.teardown("h", Some("a")).expect("accepted");
                    operation = Some(accepted.operation_id);
                }
                swarm.send_page("h", report(7, 2), Page(page, 2), &[decky]);
            }
            let operation = operation.unwrap_or_else(|| {
                let accepted = swarm.teardown("h", Some("a")).expect("accepted").0;
                accepted.operation_id
            });
            let (reply, _) = swarm.heartbeat("h", report(7, 3), None);
            let has_proof = expected == OperationState::Succeeded;
            assert_eq!(
                reply.send_inventory, !has_proof,
                "{pages_before} pages before"
            );
            swarm.advance_ms(600_000);
            assert_eq!(swarm.operation(operation).state, expected);
        }
    }
}
