//! The quarantine of a host whose agent sends malformed messages: nothing that the agent sends is
//! read any longer, until an operator readmits the host.
//!
//! The controller's shell detects malformed messages and drops the reports of a quarantined host.
//! The core only keeps the state. The quarantine is not stored, so a restarted controller reads the
//! host's reports again. If the agent still sends malformed messages, it is quarantined again
//! within seconds.

use scuttle_schemas::agents::MAX_NOTES;
use scuttle_schemas::{HostId, Note};

use crate::api::Effect;
use crate::record::rows::HostRow;
use crate::state::State;

/// The note on a quarantined host.
const QUARANTINED: &str = "quarantined: the agent sends malformed messages, so its reports are not \
    read; check what runs on the host, then readmit it with `scuttle host set NAME --reset-agent`";

impl State {
    /// Quarantines an active host, and says so in its notes. Changes nothing for any other host.
    pub(crate) fn quarantine(&mut self, id: &HostId) {
        let Some(host) = self.hosts.get_mut(id) else {
            return;
        };
        if !host.is_active() || host.quarantined {
            return;
        }
        host.quarantined = true;
        let others = host
            .row
            .notes
            .iter()
            .filter(|note| note.as_str() != QUARANTINED);
        let notes = [Note::from(QUARANTINED)].into_iter().chain(others.cloned());
        let row = HostRow {
            notes: notes.take(MAX_NOTES).collect(),
            ..host.row.clone()
        };
        self.stats.quarantined_hosts += 1;
        self.put_host(row);
        self.announce_quarantine(id, true);
    }

    /// Ends the quarantine of a host, if there is one.
    pub(crate) fn readmit(&mut self, id: &HostId) {
        let Some(host) = self.hosts.get_mut(id) else {
            return;
        };
        if !std::mem::take(&mut host.quarantined) {
            return;
        }
        let mut row = host.row.clone();
        row.notes.retain(|note| note.as_str() != QUARANTINED);
        self.stats.quarantined_hosts -= 1;
        self.put_host(row);
        self.announce_quarantine(id, false);
    }

    fn announce_quarantine(&mut self, host: &HostId, quarantined: bool) {
        self.batch.effects.push(Effect::Quarantine {
            host: host.clone(),
            quarantined,
        });
    }
}

#[cfg(test)]
mod tests {
    use scuttle_schemas::Note;

    use crate::api::{Effect, Input};
    use crate::tests::scenario::{Scenario, report};

    fn quarantine(swarm: &mut Scenario, host: &str) -> Vec<Effect> {
        let host = host.parse().expect("valid");
        swarm.apply(Input::Quarantine { host }).1
    }

    fn first_note(swarm: &Scenario) -> Option<&str> {
        swarm.state.hosts["h"].row.notes.first().map(Note::as_str)
    }

    #[test]
    fn a_quarantined_host_has_a_note_until_it_is_readmitted() {
        let mut swarm = Scenario::new();
        swarm.enroll("worker-h", Some("h")).expect("new");
        swarm.notes = &["a note"];
        swarm.heartbeat("h", report(7, 1), Some(&["a"]));
        let host = "h".parse().expect("valid");
        let effects = quarantine(&mut swarm, "h");
        assert!(effects.contains(&Effect::Quarantine {
            host,
            quarantined: true
        }));
        assert!(first_note(&swarm).is_some_and(|note| note.starts_with("quarantined")));
        assert_eq!(quarantine(&mut swarm, "h"), [], "repeated");
        // A heartbeat that was on its way does not hide the note.
        let reply = swarm.try_heartbeat("h", report(7, 2), None);
        reply.expect_err("quarantined");
        assert!(first_note(&swarm).is_some_and(|note| note.starts_with("quarantined")));

        let request = br#"{"host_uuid":"h","reset_agent":true}"#;
        let request = scuttle_schemas::read("host update request", request).expect("valid");
        swarm.request(Input::UpdateHost(request));
        assert_eq!(first_note(&swarm), Some("a note"));
        assert!(!swarm.heartbeat("h", report(7, 2), None).0.stale);
    }

    #[test]
    fn only_an_active_host_is_quarantined() {
        let mut swarm = Scenario::new();
        assert_eq!(quarantine(&mut swarm, "h"), []);
        swarm.enroll("worker-h", Some("h")).expect("new");
        swarm.decommission("h", true).expect("decommissioned");
        assert_eq!(quarantine(&mut swarm, "h"), []);
        swarm.enroll("worker-h", Some("h")).expect("again");
        quarantine(&mut swarm, "h");
        swarm.decommission("h", true).expect("decommissioned");
        assert_eq!(swarm.state.stats.quarantined_hosts, 0);
        swarm.enroll("worker-h", Some("h")).expect("again");
        let reply = swarm.try_heartbeat("h", report(7, 1), None);
        reply.expect("a host that is enrolled again is not quarantined");
    }
}
