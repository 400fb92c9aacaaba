//! `swarm.teardown`: selects or creates the operation of a request, and determines the shards that
//! a new operation covers.

use scuttle_schemas::operations::{OperationState, ShardOutcome};
use scuttle_schemas::shards::ShardState;
use scuttle_schemas::teardown::{
    DETAIL_IN_PROGRESS, DETAIL_QUEUED, TeardownAccepted, TeardownRequest,
};
use scuttle_schemas::{DeckyId, ErrorReply, HostId, OperationId, Timestamp};

use crate::api::{Reply, TeardownArgs};
use crate::broadcast::shard_changes::ShardChanges;
use crate::errors::{host_decommissioned, host_not_found, shard_not_found};
use crate::record::rows::{OperationRow, OutcomeRow, ShardRow};
use crate::requests::idempotency::KeyedRequest;
use crate::requests::plan::{build_plan, check_plan};
use crate::requests::protect::check_unprotected;
use crate::state::State;
use crate::state::host::{Host, Shard};

impl State {
    /// Accepts or rejects a teardown request. The operation in the reply is one of these:
    ///
    /// - the operation of an earlier request with the same key;
    /// - an open operation that already covers the target;
    /// - a new operation.
    ///
    /// A dry run changes nothing, and its reply is the plan.
    pub(crate) fn teardown(
        &mut self,
        now: Timestamp,
        args: TeardownArgs,
    ) -> Result<Reply, ErrorReply> {
        let TeardownArgs { request, key, .. } = &args;
        let keyed = (key.as_ref())
            .filter(|_| !request.dry_run)
            .map(|key| KeyedRequest::new(&args.requested_by, key, request));
        if let Some(keyed) = &keyed
            && let Some(reply) = self.find_earlier_reply(now, keyed)?
        {
            return Ok(Reply::Teardown(reply));
        }
        let host = self.find_active_host(&request.host_uuid)?;
        let only = request.decky_id.as_ref();
        let shards = match only {
            Some(decky) if host.shards.contains_key(decky) => {
                host.shards.range::<DeckyId, _>(decky..=decky)
            }
            Some(decky) => return Err(shard_not_found(host.identity(), decky)),
            None => host.shards.range::<DeckyId, _>(..),
        };
        let targets = shards.clone().map(|(_, shard)| &*shard.row);
        if !request.dry_run && !request.override_protection {
            check_unprotected(host, only, targets.clone())?;
        }
        if request.dry_run || request.expect_plan.is_some() {
            let plan = build_plan(&host.row, targets, self.batch.limits.reply_bytes());
            if let Some(expected) = &request.expect_plan {
                check_plan(expected, &plan)?;
            }
            if request.dry_run {
                return Ok(Reply::Plan(plan));
            }
        }
        let reply = if let Some(open) = self.find_covering_operation(host, request) {
            accepted_reply(open, DETAIL_IN_PROGRESS, true)
        } else {
            let targets = shards
                .map(|(_, shard)| target_row(host, shard, args.operation_id))
                .collect();
            self.create_operation(now, args, targets)
        };
        if let Some(keyed) = keyed {
            self.keep_reply(now, keyed, &reply);
        }
        Ok(Reply::Teardown(reply))
    }

    /// Finds the host that a request names. Returns an error if the host does not exist or is
    /// decommissioned.
    pub(super) fn find_active_host(&self, id: &HostId) -> Result<&Host, ErrorReply> {
        match self.hosts.get(id) {
            Some(host) if host.is_active() => Ok(host),
            Some(host) => Err(host_decommissioned(host.identity())),
            None => Err(host_not_found(id)),
        }
    }

    /// Creates an operation, adds its command to the batch, and sets its targets to `tearing_down`.
    fn create_operation(
        &mut self,
        now: Timestamp,
        args: TeardownArgs,
        targets: Vec<ShardRow>,
    ) -> TeardownAccepted {
        let TeardownArgs { request, .. } = args;
        let host = &self.hosts[&request.host_uuid].row;
        let operation = OperationRow {
            id: args.operation_id,
            // Shares the host's and the shard's copies of their ids, to save memory.
            host: host.host.clone(),
            host_name: host.name.clone(),
            decky: (request.decky_id).and(targets.first().map(|row| row.decky.clone())),
            state: OperationState::Queued,
            requested_by: args.requested_by,
            reason: request.reason,
            accepted_at: now,
            deadline: now.plus_millis(i64::from(request.timeout_s) * 1000),
            started_at: None,
            finished_at: None,
            attempts: 0,
            unused_count: 0,
            unused_time: now,
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
            trace: args.trace,
            override_protection: request.override_protection,
            evidence: Vec::new(),
        };
        let reply = accepted_reply(&operation, DETAIL_QUEUED, false);
        self.send_command(now, &operation);
        let changes = ShardChanges {
            host: &operation.host,
            cause: Some(&operation),
            put: targets,
            removed: Vec::new(),
        };
        self.change_shards(now, changes);
        self.put_operation(operation);
        reply
    }

    /// Returns the open operation that covers the request's decky. For a request without decky,
    /// returns an open operation of the whole host that covers every shard that is now on the host.
    ///
    /// An operation that respects the protection of deckies does not cover a request that overrides
    /// it: the override would be lost.
    fn find_covering_operation(
        &self,
        host: &Host,
        request: &TeardownRequest,
    ) -> Option<&OperationRow> {
        let find_open = |id: &OperationId| {
            host.open_operations
                .contains(id)
                .then(|| self.operations.get(id).map(|row| &**row))
                .flatten()
                .filter(|row| row.override_protection || !request.override_protection)
        };
        match &request.decky_id {
            Some(decky) => find_open(&host.shards.get(decky)?.row.operation?),
            None => host
                .open_operations
                .iter()
                .filter_map(find_open)
                .find(|row| {
                    let mut shards = host.shards.values();
                    row.decky.is_none() && shards.all(|shard| shard.row.operation == Some(row.id))
                }),
        }
    }
}

/// Returns the row of a shard in the state `tearing_down`, with `operation` as its operation.
fn target_row(host: &Host, shard: &Shard, operation: OperationId) -> ShardRow {
    ShardRow {
        state: ShardState::TearingDown,
        last_error: None,
        operation: Some(operation),
        last_seen: shard.last_seen(host.inventory_seen_at),
        ..ShardRow::clone(&shard.row)
    }
}

fn accepted_reply(row: &OperationRow, detail: &str, repeated: bool) -> TeardownAccepted {
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
