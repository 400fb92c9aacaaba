//! `swarm.hosts.enroll`: adds a host to the swarm.

use scuttle_schemas::agents::DEFAULT_INTERVAL_MS;
use scuttle_schemas::hosts::{EnrollAccepted, EnrollRequest, HostRecord, HostStatus};
use scuttle_schemas::subjects::HOSTS_UPDATE;
use scuttle_schemas::{ErrorCode, ErrorReply, HostId, Timestamp};

use crate::broadcast::size_bounds::shorten_notes;
use crate::record::rows::HostRow;
use crate::state::State;
use crate::state::host::Host;
use crate::state::identifiers::HostIdentity;

impl State {
    /// Adds a host. The id of the host is `new_id` unless the request gives an id.
    ///
    /// A request with the name of an active host, and with the same id or no id, is accepted as a
    /// repeat if it agrees with the record (see `check_repeated_enrollment`). A request with a name
    /// or an id that is the name or id of another active host is rejected, also if the two differ
    /// in case.
    pub(crate) fn enroll(
        &mut self,
        now: Timestamp,
        request: EnrollRequest,
        new_id: HostId,
    ) -> Result<EnrollAccepted, ErrorReply> {
        if let Some(host) = self.find_enrolled(&request) {
            let record = host.to_record();
            Self::check_repeated_enrollment(&request, &record)?;
            return Ok(accepted_reply(self.reply_record(host), true));
        }
        let id = request.host_uuid.unwrap_or(new_id);
        let identity = HostIdentity {
            name: &request.name,
            id: &id,
        };
        self.check_is_free(request.name.as_str(), identity)?;
        self.check_is_free(id.as_str(), identity)?;
        if let Some(host) = self.hosts.get(&id).filter(|host| host.is_active()) {
            identity.check_distinct_from(host.identity())?;
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
            protected: false,
        });
        Ok(accepted_reply(self.reply_record(&self.hosts[&id]), false))
    }
}

impl State {
    /// Returns the active host with the name that a request to enroll a host gives, unless the
    /// request gives another id.
    fn find_enrolled(&self, request: &EnrollRequest) -> Option<&Host> {
        let named = self.identifiers.find(request.name.as_str());
        let mut hosts = named.filter_map(|id| self.hosts.get(id));
        let host = hosts.find(|host| host.row.name == request.name)?;
        let id = request.host_uuid.as_ref();
        id.is_none_or(|id| *id == host.row.host).then_some(host)
    }

    /// Checks that `identifier`, the name or the id that `host` is to have, is not that of another
    /// active host.
    ///
    /// # Errors
    /// See [`HostIdentity::check_distinct_from`].
    pub(crate) fn check_is_free(
        &self,
        identifier: &str,
        host: HostIdentity<'_>,
    ) -> Result<(), ErrorReply> {
        let found = self.identifiers.find(identifier);
        for id in found.filter(|id| *id != host.id) {
            host.check_distinct_from(self.hosts[id].identity())?;
        }
        Ok(())
    }

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
        let host = HostIdentity::from(host);
        Err(ErrorReply::new(
            ErrorCode::BadRequest,
            format!(
                "{host} is already enrolled, with a different value for {changed}: change the host \
                 with `scuttle host set` ({HOSTS_UPDATE})"
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
    use crate::record::change::Change;
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
    fn a_name_or_id_of_one_active_host_is_not_given_to_another() {
        let mut swarm = Scenario::new();
        swarm.enroll("worker-a", Some("0197")).expect("new");
        for (name, id) in [
            ("w8", Some("worker-a")),
            ("w8", Some("Worker-A")),
            ("0197", Some("w8")),
            ("0197", None),
            ("WORKER-A", Some("w8")),
            ("WORKER-A", None),
            ("WORKER-A", Some("0197")),
        ] {
            let error = swarm.enroll(name, id).expect_err("in use");
            assert_eq!(error.code, ErrorCode::BadRequest);
            let message = error.message;
            assert!(message.contains("host worker-a (0197)"), "{message}");
        }
        let own = swarm.enroll("w8", Some("w8"));
        own.expect("a host may have one name and id");
        swarm.decommission("0197", false).expect("no shards");
        swarm
            .enroll("0197", Some("worker-a"))
            .expect("both are free");
    }

    /// Earlier versions enrolled such hosts.
    #[test]
    fn a_record_in_which_a_name_is_the_id_of_another_host_loads() {
        let mut swarm = Scenario::new();
        swarm.enroll("worker-a", Some("0197")).expect("new");
        swarm.enroll("w8", Some("w8")).expect("new");
        for change in &mut swarm.journal {
            if let Change::Host(row) = change
                && row.name.as_str() == "w8"
            {
                row.host = "worker-a".parse().expect("an id");
            }
        }
        swarm.crash_and_restart();
        assert_eq!(swarm.state.hosts["worker-a"].row.name.as_str(), "w8");
        assert!(swarm.enroll("worker-a", None).expect("a repeat").repeated);
        swarm.enroll("w8", None).expect("a repeat");
        let rename = |swarm: &mut Scenario, id: &str, name: &str| {
            let request = format!(r#"{{"host_uuid":"{id}","name":"{name}"}}"#);
            let request = scuttle_schemas::read("request", request.as_bytes()).expect("valid");
            swarm.request(Input::UpdateHost(request)).0
        };
        let renamed = rename(&mut swarm, "worker-a", "w9");
        assert!(matches!(renamed, Reply::HostUpdated(_)), "{renamed:?}");
        swarm.decommission("worker-a", false).expect("no shards");
        swarm.enroll("w8", Some("worker-a")).expect_err("a name");
        swarm.enroll("w8", None).expect("free");
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
