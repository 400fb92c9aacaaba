//! Enrolment and decommissioning.

use scuttle_schemas::agents::DEFAULT_INTERVAL_MS;
use scuttle_schemas::hosts::{
    DecommissionAccepted, DecommissionRequest, EnrollAccepted, EnrollRequest, HostRecord,
    HostStatus,
};
use scuttle_schemas::operations::ShardOutcome;
use scuttle_schemas::{DeckyId, ErrorCode, HostId, OperationId, Refusal, Text, Timestamp};

use crate::inventory::Inventory;
use crate::operation::Event;
use crate::rows::{HostRow, OperationRow};
use crate::state::State;
use crate::tick::Timer;

/// Why an operation of a host that left has failed.
const DECOMMISSIONED: &str = "host decommissioned";

impl State {
    /// Adds a host. The same name again, with the same id or none, is a repeat; a name or id of
    /// another living host is refused.
    pub(crate) fn enroll(
        &mut self,
        now: Timestamp,
        request: EnrollRequest,
        fresh: HostId,
    ) -> Result<EnrollAccepted, Refusal> {
        if let Some(holder) = self
            .names
            .get(&request.name)
            .and_then(|id| self.hosts.get(id))
        {
            return match &request.host_uuid {
                Some(id) if *id != holder.row.host => Err(Refusal::new(
                    ErrorCode::BadRequest,
                    format!(
                        "the name {} belongs to host {}",
                        request.name, holder.row.host
                    ),
                )),
                _ => Ok(accepted(holder.record(), true)),
            };
        }
        let id = request.host_uuid.unwrap_or(fresh);
        if let Some(other) = self.hosts.get(&id).filter(|host| host.living()) {
            return Err(Refusal::new(
                ErrorCode::BadRequest,
                format!(
                    "host {id} is enrolled under another name, {}",
                    other.row.name
                ),
            ));
        }
        // A host that comes back is still the same agent's: what that one reported before, and comes late,
        // stays stale.
        let applied = self.hosts.get(&id).and_then(|host| host.row.applied);
        self.put_host(HostRow {
            host: id.clone(),
            name: request.name,
            address: request.address,
            labels: request.labels,
            status: HostStatus::Enrolled,
            enrolled_at: now,
            last_heartbeat: None,
            interval_ms: DEFAULT_INTERVAL_MS,
            agent_version: None,
            inventory_error: None,
            applied,
        });
        Ok(accepted(self.hosts[&id].record(), false))
    }

    /// Takes a host out of the swarm. With `force` it is forgotten what is on record there.
    pub(crate) fn decommission(
        &mut self,
        now: Timestamp,
        request: &DecommissionRequest,
    ) -> Result<DecommissionAccepted, Refusal> {
        let id = &request.host_uuid;
        let Some(host) = self.hosts.get(id) else {
            return Err(Refusal::new(
                ErrorCode::HostNotFound,
                format!("no host {id} is enrolled"),
            ));
        };
        if !host.living() {
            return Err(decommissioned(id));
        }
        let shards: Vec<DeckyId> = host.shards.keys().cloned().collect();
        if !shards.is_empty() && !request.force {
            return Err(Refusal::new(
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

pub(crate) fn decommissioned(id: &HostId) -> Refusal {
    Refusal::new(
        ErrorCode::HostDecommissioned,
        format!("host {id} was decommissioned"),
    )
}

fn accepted(host: HostRecord, repeated: bool) -> EnrollAccepted {
    EnrollAccepted {
        accepted: true,
        host,
        repeated,
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Scenario;

    #[test]
    fn a_name_and_an_id_belong_to_one_host() {
        let mut swarm = Scenario::new();
        let host = swarm.enroll("worker-a", Some("a")).expect("new");
        assert!(!host.repeated);
        assert!(swarm.enroll("worker-a", None).expect("again").repeated);
        assert!(swarm.enroll("worker-a", Some("a")).expect("again").repeated);
        swarm
            .enroll("worker-a", Some("b"))
            .expect_err("the name is taken");
        swarm
            .enroll("worker-b", Some("a"))
            .expect_err("the id is taken");
        assert!(!swarm.enroll("worker-b", None).expect("new").repeated);
    }
}
