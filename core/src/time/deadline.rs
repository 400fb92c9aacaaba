//! The deadline: what a full inventory no longer lists counts as gone, the rest has failed.

use scuttle_schemas::operations::{OperationState, ShardOutcome};
use scuttle_schemas::shards::ShardState;
use scuttle_schemas::{OperationId, Text, Timestamp};

use crate::record::operation_state::Event;
use crate::record::rows::{OperationRow, ShardRow};
use crate::state::State;

/// No agent ever started the operation.
const UNDELIVERED: &str = "undelivered";
/// An agent started it, and never said how it ended.
const UNFINISHED: &str = "unfinished";
/// Of a shard that is no longer this operation's.
const TAKEN_OVER: &str = "taken over by a newer operation";

impl State {
    /// Ends an open operation at its deadline.
    pub(crate) fn expire(&mut self, now: Timestamp, id: OperationId) {
        let Some(operation) = self.operations.get(&id) else {
            return;
        };
        let mut operation = OperationRow::clone(operation);
        let Some(host) = self.hosts.get(&operation.host) else {
            return;
        };
        let started = operation.state == OperationState::Running;
        let error = Text::from(if started { UNFINISHED } else { UNDELIVERED });
        // Only an inventory that came since the acceptance proves anything.
        let proof = host.inventory.is_newer_than(id);

        let mut put = Vec::new();
        let mut removed = Vec::new();
        // A host that had no shards at the acceptance is as unproven as one whose shards are listed.
        let mut left = !proof && operation.outcomes.is_empty();
        for outcome in &mut operation.outcomes {
            let shard = host.shards.get(&outcome.decky);
            match shard.filter(|shard| shard.row.operation == Some(id)) {
                Some(shard) if proof && !shard.listed => {
                    outcome.outcome = ShardOutcome::Absent;
                    removed.push(outcome.decky.clone());
                }
                Some(shard) => {
                    left = true;
                    outcome.outcome = ShardOutcome::Failed;
                    outcome.error = Some(error.clone());
                    put.push(ShardRow {
                        state: ShardState::TeardownFailed,
                        last_error: Some(error.clone()),
                        last_seen: shard.last_seen(host.seen),
                        ..ShardRow::clone(&shard.row)
                    });
                }
                // Not this operation's, and not deployed anew either.
                None if shard
                    .is_some_and(|shard| shard.row.registered <= operation.covers_until) =>
                {
                    left = true;
                    outcome.outcome = ShardOutcome::Failed;
                    outcome.error = Some(Text::from(TAKEN_OVER));
                }
                None => outcome.outcome = ShardOutcome::Absent,
            }
        }
        let event = if left {
            Event::Expired
        } else {
            Event::FoundGone
        };
        if operation.take(event, now).is_err() {
            return;
        }
        operation.error = left.then_some(error);
        self.change_shards(now, &operation.host, Some(&operation), put, removed);
        self.put_operation(operation);
    }
}
