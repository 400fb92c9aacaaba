//! `swarm.hosts.enroll`: adds a host to the swarm.

use scuttle_schemas::agents::DEFAULT_INTERVAL_MS;
use scuttle_schemas::hosts::{EnrollAccepted, EnrollRequest, HostRecord, HostStatus};
use scuttle_schemas::{ErrorCode, ErrorReply, HostId, Timestamp};

use crate::record::rows::HostRow;
use crate::state::State;

impl State {
    /// Adds a host. The id of the host is `new_id` unless the request gives an id.
    ///
    /// A request with the name of an active host, and with the same id or no id, is accepted as a
    /// repeat. A request with the name or the id of another active host is rejected.
    pub(crate) fn enroll(
        &mut self,
        now: Timestamp,
        request: EnrollRequest,
        new_id: HostId,
    ) -> Result<EnrollAccepted, ErrorReply> {
        let same_name = self.host_ids_by_name.get(&request.name);
        if let Some(host) = same_name.and_then(|id| self.hosts.get(id)) {
            let (name, id) = (&request.name, &host.row.host);
            return match &request.host_uuid {
                Some(requested) if requested != id => Err(ErrorReply::new(
                    ErrorCode::BadRequest,
                    format!("the name {name} belongs to host {id}"),
                )),
                _ => Ok(accepted_reply(host.to_record(), true)),
            };
        }
        let id = request.host_uuid.unwrap_or(new_id);
        let same_id = self.hosts.get(&id);
        if let Some(host) = same_id.filter(|host| host.is_active()) {
            let name = &host.row.name;
            return Err(ErrorReply::new(
                ErrorCode::BadRequest,
                format!("host {id} is enrolled with another name, {name}"),
            ));
        }
        // A host that is enrolled again still has the same agent: reports from before that arrive
        // late stay stale.
        let applied = same_id.and_then(|host| host.row.applied);
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
            notes: Vec::new(),
        });
        Ok(accepted_reply(self.hosts[&id].to_record(), false))
    }
}

fn accepted_reply(host: HostRecord, repeated: bool) -> EnrollAccepted {
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
        let first = swarm.enroll("worker-a", Some("a")).expect("new");
        assert!(!first.repeated);
        let repeat = swarm.enroll("worker-a", None).expect("a repeat");
        assert!(repeat.repeated);
        let repeat = swarm.enroll("worker-a", Some("a")).expect("a repeat");
        assert!(repeat.repeated);
        swarm
            .enroll("worker-a", Some("b"))
            .expect_err("the name belongs to a");
        swarm
            .enroll("worker-b", Some("a"))
            .expect_err("the id belongs to worker-a");
        assert!(!swarm.enroll("worker-b", None).expect("new").repeated);
    }
}
