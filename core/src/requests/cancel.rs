//! `swarm.operations.cancel`: cancels a queued operation, and returns its shards to the state that
//! their agent last reported.

use std::collections::BTreeMap;

use scuttle_schemas::operations::{CancelAccepted, CancelRequest, OperationState, ShardOutcome};
use scuttle_schemas::shards::ShardState;
use scuttle_schemas::{DeckyId, ErrorCode, ErrorReply, OperationId, Timestamp};

use crate::broadcast::shard_changes::ShardChanges;
use crate::errors::operation_not_found;
use crate::record::operation_state::OperationEvent;
use crate::record::rows::{OperationRow, ShardRow};
use crate::state::State;
use crate::state::host::{Host, Shard};

/// An open operation that covers a decky, and its `covers_until`.
type Cover = (OperationId, u64);

impl State {
    /// Cancels a queued operation. Rejects the request if the operation does not exist or is in
    /// another state.
    pub(crate) fn cancel(
        &mut self,
        now: Timestamp,
        request: &CancelRequest,
    ) -> Result<CancelAccepted, ErrorReply> {
        let id = request.operation_id;
        let Some(row) = self.operations.get(&id) else {
            return Err(operation_not_found(id));
        };
        let mut row = OperationRow::clone(row);
        if row.transition(OperationEvent::Cancelled, now).is_err() {
            let state = describe_state(row.state);
            return Err(ErrorReply::new(
                ErrorCode::NotCancellable,
                format!("operation {id} {state}; only queued operations can be cancelled"),
            ));
        }
        let changes = ShardChanges {
            host: &row.host,
            cause: Some(&row),
            put: self.released_rows(&row),
            removed: Vec::new(),
        };
        // The record no longer has the reasons for these states, so the next heartbeat must contain
        // an inventory.
        let lacks_reason =
            |row: &ShardRow| matches!(row.state, ShardState::Degraded | ShardState::Failed);
        let is_requested = changes.put.iter().any(lacks_reason);
        self.change_shards(now, changes);
        if let Some(host) = self.hosts.get_mut(&row.host) {
            host.inventory.is_requested |= is_requested;
        }
        self.put_operation(row.clone());
        self.send_new_cancel_command(now, &row);
        let operation = self.operation_record(&row);
        Ok(CancelAccepted {
            accepted: true,
            operation,
        })
    }

    /// Returns the new rows of the shards that a cancelled operation releases. A shard that another
    /// open operation covers is assigned to that operation.
    fn released_rows(&self, row: &OperationRow) -> Vec<ShardRow> {
        let Some(host) = self.hosts.get(&row.host) else {
            return Vec::new();
        };
        let others = self.find_other_covers(host, row.id);
        let held = (row.outcomes.iter())
            .filter_map(|outcome| host.shards.get(&outcome.decky))
            .filter(|shard| shard.row.operation == Some(row.id))
            .filter(|shard| shard.row.state == ShardState::TearingDown);
        held.map(|shard| match others.get(&shard.row.decky) {
            Some((other, covers_until)) if shard.row.registered <= *covers_until => ShardRow {
                operation: Some(*other),
                last_seen: shard.last_seen(host.inventory_seen_at),
                ..ShardRow::clone(&shard.row)
            },
            _ => reported_row(host, shard),
        })
        .collect()
    }

    /// Maps each decky of a host to an open operation that covers it, leaving out the operation
    /// `cancelled`.
    fn find_other_covers(&self, host: &Host, cancelled: OperationId) -> BTreeMap<&DeckyId, Cover> {
        let open = host.open_operations.iter();
        let open = open.filter(|id| **id != cancelled);
        let rows = open.filter_map(|id| self.operations.get(id));
        rows.flat_map(|row| {
            let outcomes = row.outcomes.iter();
            let pending = outcomes.filter(|outcome| outcome.outcome == ShardOutcome::Pending);
            pending.map(|outcome| (&outcome.decky, (row.id, row.covers_until)))
        })
        .collect()
    }
}

/// Returns a shard's row in the state that its agent last reported, or in the state `degraded` if
/// the last inventory does not list the shard.
fn reported_row(host: &Host, shard: &Shard) -> ShardRow {
    let row = ShardRow {
        state: ShardState::from(shard.row.reported),
        last_error: None,
        last_seen: shard.last_seen(host.inventory_seen_at),
        ..ShardRow::clone(&shard.row)
    };
    if host.inventory.has_applied && !shard.listed {
        row.into_unreported()
    } else {
        row
    }
}

/// Returns the verb phrase for an error message about an operation in this state, which cannot be
/// cancelled.
fn describe_state(state: OperationState) -> &'static str {
    match state {
        OperationState::Queued => "is queued",
        OperationState::Running => "is already running",
        OperationState::Succeeded => "has already succeeded",
        OperationState::Failed => "has already failed",
        OperationState::TimedOut => "has already timed out",
        OperationState::Cancelled => "was already cancelled",
    }
}
