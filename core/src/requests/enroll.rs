//! `swarm.hosts.enroll`: adds a host to the swarm.

use scuttle_schemas::agents::DEFAULT_INTERVAL_MS;
use scuttle_schemas::hosts::{EnrollAccepted, EnrollRequest, HostRecord, HostStatus};
use scuttle_schemas::subjects::HOSTS_UPDATE;
use scuttle_schemas::{ErrorCode, ErrorReply, HostId, Timestamp};

use crate::broadcast::size_bounds::shorten_notes;
use crate::record::rows::HostRow;
use crate::state::State;
use crate::state::host::Host;

impl State {
    /// Adds a host. The id of the host is `new_id` unless the request gives an id.
    ///
    /// A request with the name of an active host, and with the same id or no id, is accepted as a
    /// repeat if it agrees with the record (see `check_repeated_enrollment`). A request with the
    /// name or the id of another active host is rejected.
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
                _ => {
                    let record = host.to_record();
                    Self::check_repeated_enrollment(&request, &record)?;
                    Ok(accepted_reply(self.reply_record(host), true))
                }
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
        self.put_host(HostRow {
            host: id.clone(),
            name: request.name,
            address: request.address,
            labels: request.labels.unwrap_or_default(),
            status: HostStatus::Enrolled,
            enrolled_at: now,
            last_heartbeat: None,
            interval_ms: DEFAULT_INTERVAL_MS,
            agent_version: None,
            inventory_error: None,
            // The last report is forgotten, because it may be of another agent, whose reports would
            // make those of the present one stale.
            applied: None,
            notes: Vec::new(),
        });
        Ok(accepted_reply(self.reply_record(&self.hosts[&id]), false))
    }
}

impl State {
    /// Returns the record of a host for a reply.
    pub(crate) fn reply_record(&self, host: &Host) -> HostRecord {
        shorten_notes(host.to_record(), self.batch.limits.reply_bytes())
    }

    /// Checks that a request to enroll a host that is already enrolled agrees with the host's
    /// record.
    ///
    /// # Errors
    /// `bad_request` if the request has other labels or another address than the record.
    pub fn check_repeated_enrollment(
        request: &EnrollRequest,
        host: &HostRecord,
    ) -> Result<(), ErrorReply> {
        let has_other_labels =
            (request.labels.as_ref()).is_some_and(|labels| *labels != host.labels);
        let has_other_address = request.address.is_some() && request.address != host.address;
        let changed = match (has_other_labels, has_other_address) {
            (false, false) => return Ok(()),
            (true, false) => "labels",
            (false, true) => "address",
            (true, true) => "labels and address",
        };
        let (name, id) = (&host.name, &host.host_uuid);
        Err(ErrorReply::new(
            ErrorCode::BadRequest,
            format!(
                "host {name} ({id}) is already enrolled, with a different value for {changed}: use \
                 {HOSTS_UPDATE} to change a host"
            ),
        ))
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
    use scuttle_schemas::ErrorCode;
    use scuttle_schemas::subjects::HOSTS_UPDATE;

    use crate::api::{Input, Reply};
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

    #[test]
    fn a_repeat_with_other_labels_or_another_address_is_rejected() {
        let mut swarm = Scenario::new();
        let mut enroll = |fields: &str| {
            let request = format!(r#"{{"name":"worker-h"{fields}}}"#);
            let request = scuttle_schemas::read("enroll request", request.as_bytes());
            let request = request.expect("a valid request");
            let host = "h".parse().expect("valid");
            swarm.request(Input::Enroll { request, host }).0
        };
        enroll(r#","address":"10.0.0.1","labels":{"rack":"7"}"#);
        for fields in [
            "",
            r#","address":"10.0.0.1""#,
            r#","labels":{"rack":"7"}"#,
            r#","address":null,"host_uuid":"h","labels":{"rack":"7"}"#,
        ] {
            let reply = enroll(fields);
            assert!(
                matches!(&reply, Reply::Enroll(accepted) if accepted.repeated),
                "{reply:?}"
            );
        }
        for (fields, changed) in [
            (r#","labels":{"rack":"8"}"#, "value for labels:"),
            (r#","labels":{}"#, "value for labels:"),
            (r#","address":"10.0.0.2""#, "value for address:"),
            (
                r#","address":"","labels":{"rack":"7","row":"1"}"#,
                "value for labels and address:",
            ),
        ] {
            let Reply::Rejected(error) = enroll(fields) else {
                panic!("{fields} was accepted");
            };
            assert_eq!(error.code, ErrorCode::BadRequest);
            assert!(error.message.contains(changed), "{}", error.message);
            assert!(error.message.contains(HOSTS_UPDATE));
        }
    }
}
