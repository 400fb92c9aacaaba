//! `swarm.hosts.decommission`: removes a host from the swarm.

use scuttle_schemas::hosts::{DecommissionAccepted, DecommissionRequest, HostStatus};
use scuttle_schemas::operations::ShardOutcome;
use scuttle_schemas::{DeckyId, ErrorCode, ErrorReply, HostId, OperationId, Text, Timestamp};

use crate::broadcast::shard_changes::ShardChanges;
use crate::errors::{host_decommissioned, host_not_found};
use crate::plural::{format_count, format_deckies};
use crate::record::operation_state::OperationEvent;
use crate::record::rows::{HostRow, OperationRow};
use crate::state::State;
use crate::state::inventory::Inventory;

/// The error of an operation whose host was decommissioned.
const DECOMMISSIONED: &str = "host decommissioned";

impl State {
    /// Decommissions a host, and fails its open operations.
    ///
    /// Rejects the request if the host has shards, unless `force` is set. With `force`, the shards
    /// are removed from the record.
    pub(crate) fn decommission(
        &mut self,
        now: Timestamp,
        request: &DecommissionRequest,
    ) -> Result<DecommissionAccepted, ErrorReply> {
        let id = &request.host_uuid;
        let Some(host) = self.hosts.get(id) else {
            return Err(host_not_found(id));
        };
        if !host.is_active() {
            return Err(host_decommissioned(host.identity()));
        }
        let shards: Vec<DeckyId> = host.shards.keys().cloned().collect();
        if !shards.is_empty() && !request.force {
            let (host, count) = (host.identity(), format_deckies(shards.len()));
            return Err(ErrorReply::new(
                ErrorCode::BadRequest,
                format!(
                    "{host} still has {count}: tear them down first, or use force to remove them \
                     from the record"
                ),
            ));
        }
        let open: Vec<OperationId> = host.open_operations.iter().copied().collect();
        let detail = if shards.is_empty() && open.is_empty() {
            "the host had no deckies and no open operations".to_owned()
        } else {
            let deckies = format_deckies(shards.len());
            let operations = format_count(open.len(), "open operation", "open operations");
            format!(
                "removed {deckies} from the record and ended {operations} as failed: containers \
                 may still be running on the host"
            )
        };
        self.readmit(id);
        for operation in open {
            self.fail_operation(now, operation);
        }
        let changes = ShardChanges {
            host: id,
            cause: None,
            put: Vec::new(),
            removed: shards,
        };
        self.change_shards(now, changes);
        self.mark_decommissioned(id);
        Ok(DecommissionAccepted {
            accepted: true,
            detail,
            host: self.reply_record(&self.hosts[id]),
        })
    }

    /// Fails an open operation whose host is decommissioned, and cancels it at its agent.
    fn fail_operation(&mut self, now: Timestamp, id: OperationId) {
        let Some(row) = self.operations.get(&id) else {
            return;
        };
        let mut row = OperationRow::clone(row);
        if row.transition(OperationEvent::Decommissioned, now).is_err() {
            return;
        }
        row.error = Some(Text::from(DECOMMISSIONED));
        for outcome in &mut row.outcomes {
            if outcome.outcome == ShardOutcome::Pending {
                outcome.outcome = ShardOutcome::Failed;
                outcome.error = Some(Text::from(DECOMMISSIONED));
            }
        }
        self.put_operation(row.clone());
        self.send_cancel_command(now, &row);
    }

    /// Sets the host's status to `decommissioned`, and discards what this process knows about its
    /// agent.
    fn mark_decommissioned(&mut self, id: &HostId) {
        self.cancel_liveness_check(id);
        let Some(host) = self.hosts.get_mut(id) else {
            return;
        };
        host.resent_to = None;
        host.progress = None;
        host.inventory = Inventory::default();
        host.inventory_seen_at = None;
        let row = HostRow {
            status: HostStatus::Decommissioned,
            inventory_error: None,
            notes: Vec::new(),
            protected: false,
            ..host.row.clone()
        };
        self.put_host(row);
    }
}
