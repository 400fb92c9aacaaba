//! Enrolment and decommissioning.

use scuttle_schemas::hosts::{DecommissionAccepted, DecommissionRequest, HostStatus};
use scuttle_schemas::operations::ShardOutcome;
use scuttle_schemas::{DeckyId, ErrorCode, ErrorReply, HostId, OperationId, Text, Timestamp};

use crate::errors::decommissioned;
use crate::record::operation_state::Event;
use crate::record::rows::{HostRow, OperationRow};
use crate::state::State;
use crate::state::inventory::Inventory;
use crate::state::timers::Timer;

/// Why an operation of a host that left has failed.
const DECOMMISSIONED: &str = "host decommissioned";

impl State {
    /// Takes a host out of the swarm. With `force` it is forgotten what is on record there.
    pub(crate) fn decommission(
        &mut self,
        now: Timestamp,
        request: &DecommissionRequest,
    ) -> Result<DecommissionAccepted, ErrorReply> {
        let id = &request.host_uuid;
        let Some(host) = self.hosts.get(id) else {
            return Err(ErrorReply::new(
                ErrorCode::HostNotFound,
                format!("no host {id} is enrolled"),
            ));
        };
        if !host.living() {
            return Err(decommissioned(id));
        }
        let shards: Vec<DeckyId> = host.shards.keys().cloned().collect();
        if !shards.is_empty() && !request.force {
            return Err(ErrorReply::new(
                ErrorCode::BadRequest,
                format!(
                    "host {id} still has {} shards: tear them down first, or force it, and they are forgotten",
                    shards.len()
                ),
            ));
        }
        let open: Vec<OperationId> = host.open.iter().copied().collect();
        let detail = if shards.is_empty() && open.is_empty() {
            "nothing was on record there".to_owned()
        } else {
            format!(
                "{} shards were forgotten and {} operations ended: containers may still be running there",
                shards.len(),
                open.len()
            )
        };
        for operation in open {
            self.abandon(now, operation);
        }
        self.change_shards(now, id, None, Vec::new(), shards);
        self.leave(id);
        Ok(DecommissionAccepted {
            accepted: true,
            detail,
            host: self.hosts[id].record(),
        })
    }

    /// Ends an open operation whose host is taken out of the swarm; its agent is told not to begin it.
    fn abandon(&mut self, now: Timestamp, id: OperationId) {
        let Some(row) = self.operations.get(&id) else {
            return;
        };
        let mut row = OperationRow::clone(row);
        if row.take(Event::Decommissioned, now).is_err() {
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
        self.withdraw(now, row);
    }

    fn leave(&mut self, id: &HostId) {
        let Some(host) = self.hosts.get_mut(id) else {
            return;
        };
        if let Some(at) = host.watched.take() {
            self.timers.remove(&(at, Timer::Liveness(id.clone())));
        }
        host.heard = None;
        host.met = false;
        host.progress = None;
        host.inventory = Inventory::default();
        host.seen = None;
        let row = HostRow {
            status: HostStatus::Decommissioned,
            inventory_error: None,
            ..host.row.clone()
        };
        self.put_host(row);
    }
}
