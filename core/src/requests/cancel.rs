//! `swarm.operations.cancel`: a queued operation is withdrawn, and its shards go back to what their agent
//! last reported.

use std::collections::BTreeMap;

use scuttle_schemas::operations::{CancelAccepted, CancelRequest, OperationState, ShardOutcome};
use scuttle_schemas::shards::ShardState;
use scuttle_schemas::{DeckyId, ErrorCode, ErrorReply, OperationId, Timestamp};

use crate::record::operation_state::Event;
use crate::record::rows::{OperationRow, ShardRow, not_reported};
use crate::state::State;
use crate::state::host::{Host, Shard};

impl State {
    /// Withdraws an operation that no agent has started.
    pub(crate) fn cancel(
        &mut self,
        now: Timestamp,
        request: &CancelRequest,
    ) -> Result<CancelAccepted, ErrorReply> {
        let id = request.operation_id;
        let Some(row) = self.operations.get(&id) else {
            return Err(ErrorReply::new(
                ErrorCode::OperationNotFound,
                format!("no operation {id} is known"),
            ));
        };
        let mut row = OperationRow::clone(row);
        if row.take(Event::Cancelled, now).is_err() {
            return Err(ErrorReply::new(
                ErrorCode::NotCancellable,
                format!(
                    "operation {id} is {}, and only a queued one can be cancelled",
                    in_words(row.state)
                ),
            ));
        }
        row.unanswered = 0;
        let put = self.released(&row);
        self.change_shards(now, &row.host, Some(&row), put, Vec::new());
        self.put_operation(row.clone());
        let operation = row.record(None);
        self.withdraw(now, row);
        Ok(CancelAccepted {
            accepted: true,
            operation,
        })
    }

    /// The rows of the shards that an operation lets go of.
    fn released(&self, row: &OperationRow) -> Vec<ShardRow> {
        let Some(host) = self.hosts.get(&row.host) else {
            return Vec::new();
        };
        let others = self.holders(host, row.id);
        let held = (row.outcomes.iter())
            .filter_map(|outcome| host.shards.get(&outcome.decky))
            .filter(|shard| shard.row.operation == Some(row.id))
            .filter(|shard| shard.row.state == ShardState::TearingDown);
        held.map(|shard| match others.get(&shard.row.decky) {
            Some((other, until)) if shard.row.registered <= *until => ShardRow {
                operation: Some(*other),
                last_seen: shard.last_seen(host.seen),
                ..ShardRow::clone(&shard.row)
            },
            _ => as_reported(host, shard),
        })
        .collect()
    }

    /// The other open operations that cover the host's deckies: an operation that was taken over by one
    /// that is withdrawn has its shards back.
    fn holders(&self, host: &Host, but: OperationId) -> BTreeMap<&DeckyId, (OperationId, u64)> {
        let open = host.open.iter().filter(|id| **id != but);
        let rows = open.filter_map(|id| self.operations.get(id));
        rows.flat_map(|row| {
            let pending = row.outcomes.iter();
            let pending = pending.filter(|outcome| outcome.outcome == ShardOutcome::Pending);
            pending.map(|outcome| (&outcome.decky, (row.id, row.covers_until)))
        })
        .collect()
    }
}

/// A shard's row as its agent last reported it, or no longer did.
fn as_reported(host: &Host, shard: &Shard) -> ShardRow {
    let row = ShardRow {
        state: ShardState::from(shard.row.reported),
        last_error: None,
        last_seen: shard.last_seen(host.seen),
        ..ShardRow::clone(&shard.row)
    };
    if host.inventory.applied && !shard.listed {
        not_reported(row)
    } else {
        row
    }
}

fn in_words(state: OperationState) -> &'static str {
    match state {
        OperationState::Queued => "queued",
        OperationState::Running => "running",
        OperationState::Succeeded => "succeeded",
        OperationState::Failed => "failed",
        OperationState::TimedOut => "timed_out",
        OperationState::Cancelled => "cancelled already",
    }
}
