//! `swarm.teardown`: which operation a request means, and what a new one covers.

use scuttle_schemas::operations::{OperationState, ShardOutcome};
use scuttle_schemas::shards::ShardState;
use scuttle_schemas::teardown::{IN_PROGRESS, QUEUED, TeardownAccepted, TeardownRequest};
use scuttle_schemas::{DeckyId, ErrorCode, OperationId, Refusal, Timestamp};

use crate::rows::{OperationRow, OutcomeRow, ShardRow};
use crate::state::{Host, State};
use crate::step::Trace;

impl State {
    /// Accepts a teardown: an open operation that covers the target already, or a new one.
    pub(crate) fn teardown(
        &mut self,
        now: Timestamp,
        request: TeardownRequest,
        id: OperationId,
        requested_by: String,
        trace: Option<Trace>,
    ) -> Result<TeardownAccepted, Refusal> {
        let Some(host) = self.hosts.get(&request.host_uuid) else {
            return Err(Refusal::new(
                ErrorCode::HostNotFound,
                format!("no host {} is enrolled", request.host_uuid),
            ));
        };
        if !host.living() {
            return Err(Refusal::new(
                ErrorCode::HostDecommissioned,
                format!("host {} was decommissioned", request.host_uuid),
            ));
        }
        if request.dry_run || request.expect_plan.is_some() {
            return Err(Refusal::new(
                ErrorCode::BadRequest,
                "dry_run and expect_plan are not supported by this version: nothing was done",
            ));
        }
        if let Some(decky) = &request.decky_id
            && !host.shards.contains_key(decky)
        {
            return Err(Refusal::new(
                ErrorCode::ShardNotFound,
                format!("no decky {decky} is known on host {}", request.host_uuid),
            ));
        }
        if let Some(open) = self.covering(host, request.decky_id.as_ref()) {
            return Ok(accepted(open, IN_PROGRESS, true));
        }

        let targets: Vec<ShardRow> = match &request.decky_id {
            Some(decky) => host
                .shards
                .get(decky)
                .into_iter()
                .map(|shard| target(host, shard, id))
                .collect(),
            None => host
                .shards
                .values()
                .map(|shard| target(host, shard, id))
                .collect(),
        };
        let mut operation = OperationRow {
            id,
            // The state's own names, so that the request's need no memory of their own.
            host: host.row.host.clone(),
            host_name: host.row.name.clone(),
            decky: request
                .decky_id
                .and(targets.first().map(|row| row.decky.clone())),
            state: OperationState::Queued,
            requested_by,
            reason: request.reason,
            accepted_at: now,
            deadline: now.plus_millis(i64::from(request.timeout_s) * 1000),
            finished_at: None,
            attempts: 0,
            unanswered: 0,
            next_attempt_at: now,
            error: None,
            covers_until: self.meta.revisions.shards,
            outcomes: targets
                .iter()
                .map(|row| OutcomeRow {
                    decky: row.decky.clone(),
                    outcome: ShardOutcome::Pending,
                    error: None,
                })
                .collect(),
            trace,
        };
        let answer = accepted(&operation, QUEUED, false);
        self.command(now, &mut operation);
        self.change_shards(now, &operation.host, Some(&operation), targets, Vec::new());
        self.put_operation(operation);
        Ok(answer)
    }

    /// The open operation that covers the decky, or every shard that the host now has.
    fn covering(&self, host: &Host, decky: Option<&DeckyId>) -> Option<&OperationRow> {
        let open = |id: &OperationId| {
            host.open
                .contains(id)
                .then(|| self.operations.get(id).map(|row| &**row))
                .flatten()
        };
        match decky {
            Some(decky) => open(&host.shards.get(decky)?.row.operation?),
            None => host.open.iter().filter_map(open).find(|row| {
                row.decky.is_none()
                    && host
                        .shards
                        .values()
                        .all(|shard| shard.row.operation == Some(row.id))
            }),
        }
    }
}

/// A shard's row as a new operation takes hold of it.
fn target(host: &Host, shard: &crate::state::Shard, operation: OperationId) -> ShardRow {
    ShardRow {
        state: ShardState::TearingDown,
        last_error: None,
        operation: Some(operation),
        last_seen: shard.last_seen(&host.row),
        ..ShardRow::clone(&shard.row)
    }
}

fn accepted(row: &OperationRow, detail: &str, repeated: bool) -> TeardownAccepted {
    TeardownAccepted {
        accepted: true,
        detail: detail.to_owned(),
        operation_id: row.id,
        host_uuid: row.host.clone(),
        host_name: row.host_name.clone(),
        decky_id: row.decky.clone(),
        shards: row.outcomes.len(),
        deadline: row.deadline,
        repeated,
    }
}
