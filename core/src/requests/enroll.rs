//! Enrolment.

use scuttle_schemas::agents::DEFAULT_INTERVAL_MS;
use scuttle_schemas::hosts::{EnrollAccepted, EnrollRequest, HostRecord, HostStatus};
use scuttle_schemas::{ErrorCode, ErrorReply, HostId, Timestamp};

use crate::record::rows::HostRow;
use crate::state::State;

impl State {
    /// Adds a host. The same name again, with the same id or none, is a repeat; a name or id of
    /// another living host is refused.
    pub(crate) fn enroll(
        &mut self,
        now: Timestamp,
        request: EnrollRequest,
        fresh: HostId,
    ) -> Result<EnrollAccepted, ErrorReply> {
        if let Some(holder) = self
            .names
            .get(&request.name)
            .and_then(|id| self.hosts.get(id))
        {
            return match &request.host_uuid {
                Some(id) if *id != holder.row.host => Err(ErrorReply::new(
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
            return Err(ErrorReply::new(
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
    use crate::tests::scenario::Scenario;

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
