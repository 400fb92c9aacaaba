//! `swarm.teardown`: which operation a request means, and what a new one covers.

use scuttle_schemas::operations::{OperationState, ShardOutcome};
use scuttle_schemas::shards::ShardState;
use scuttle_schemas::teardown::{
    DETAIL_IN_PROGRESS, DETAIL_QUEUED, TeardownAccepted, TeardownRequest,
};
use scuttle_schemas::{DeckyId, ErrorCode, ErrorReply, HostId, OperationId, Timestamp};

use crate::api::Reply;
use crate::errors::decommissioned;
use crate::record::rows::{OperationRow, OutcomeRow, ShardRow, Trace};
use crate::requests::idempotency::Keyed;
use crate::requests::plan;
use crate::state::State;
use crate::state::host::Host;

/// A teardown and what came with it.
pub(crate) struct Asked {
    pub(crate) request: TeardownRequest,
    /// The id for a new operation.
    pub(crate) id: OperationId,
    pub(crate) requested_by: String,
    pub(crate) key: Option<String>,
    pub(crate) trace: Option<Trace>,
}

impl State {
    /// Accepts a teardown: the operation that its key stands for, an open one that covers the target
    /// already, or a new one. A dry run changes nothing.
    pub(crate) fn teardown(&mut self, now: Timestamp, asked: Asked) -> Result<Reply, ErrorReply> {
        let Asked { request, key, .. } = &asked;
        let keyed = (key.as_ref())
            .filter(|_| !request.dry_run)
            .map(|key| Keyed::new(&asked.requested_by, key, request));
        if let Some(keyed) = &keyed
            && let Some(answer) = self.answered(now, keyed)?
        {
            return Ok(Reply::Teardown(answer));
        }
        let host = self.target_host(&request.host_uuid)?;
        let only = request.decky_id.as_ref();
        let shards = match only {
            Some(decky) => match host.shards.get(decky) {
                Some(_) => host.shards.range::<DeckyId, _>(decky..=decky),
                None => {
                    return Err(ErrorReply::new(
                        ErrorCode::ShardNotFound,
                        format!("no decky {decky} is known on host {}", request.host_uuid),
                    ));
                }
            },
            None => host.shards.range::<DeckyId, _>(..),
        };
        if request.dry_run || request.expect_plan.is_some() {
            let targets = shards
                .clone()
                .map(|(decky, shard)| (decky, shard.row.state));
            let plan = plan::plan(&request.host_uuid, targets);
            if let Some(expected) = &request.expect_plan {
                plan::check(expected, &plan)?;
            }
            if request.dry_run {
                return Ok(Reply::Plan(plan));
            }
        }
        let answer = if let Some(open) = self.covering(host, only) {
            accepted(open, DETAIL_IN_PROGRESS, true)
        } else {
            let targets = shards
                .map(|(_, shard)| target(host, shard, asked.id))
                .collect();
            self.begin(now, asked, targets)
        };
        if let Some(keyed) = keyed {
            self.keep_answer(now, keyed, &answer);
        }
        Ok(Reply::Teardown(answer))
    }

    fn target_host(&self, id: &HostId) -> Result<&Host, ErrorReply> {
        match self.hosts.get(id) {
            Some(host) if host.living() => Ok(host),
            Some(_) => Err(decommissioned(id)),
            None => Err(ErrorReply::new(
                ErrorCode::HostNotFound,
                format!("no host {id} is enrolled"),
            )),
        }
    }

    /// Makes an operation, sends its command, and takes hold of its targets.
    fn begin(&mut self, now: Timestamp, asked: Asked, targets: Vec<ShardRow>) -> TeardownAccepted {
        let Asked { request, id, .. } = asked;
        let host = &self.hosts[&request.host_uuid].row;
        let mut operation = OperationRow {
            id,
            // The state's own names, so that the request's need no memory of their own.
            host: host.host.clone(),
            host_name: host.name.clone(),
            decky: (request.decky_id).and(targets.first().map(|row| row.decky.clone())),
            state: OperationState::Queued,
            requested_by: asked.requested_by,
            reason: request.reason,
            accepted_at: now,
            deadline: now.plus_millis(i64::from(request.timeout_s) * 1000),
            started_at: None,
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
            trace: asked.trace,
        };
        let answer = accepted(&operation, DETAIL_QUEUED, false);
        self.command(now, &mut operation);
        let host = operation.host.clone();
        self.change_shards(now, &host, Some(&operation), targets, Vec::new());
        self.put_operation(operation);
        answer
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
fn target(host: &Host, shard: &crate::state::host::Shard, operation: OperationId) -> ShardRow {
    ShardRow {
        state: ShardState::TearingDown,
        last_error: None,
        operation: Some(operation),
        last_seen: shard.last_seen(host.seen),
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
