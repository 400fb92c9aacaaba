//! `agent.<host_uuid>.heartbeat`: a host is alive, and perhaps says what it sees.

use scuttle_schemas::agents::{Heartbeat, HeartbeatAccepted};
use scuttle_schemas::hosts::HostStatus;
use scuttle_schemas::{ErrorCode, ErrorReply, HostId, Timestamp};

use crate::errors::decommissioned;
use crate::record::rows::{HostRow, ReportId};
use crate::state::State;
use crate::state::inventory::Inventory;

impl State {
    /// Takes a heartbeat in. One that left before what was already applied changes nothing; one that
    /// changes nothing durable writes nothing.
    pub(crate) fn heartbeat(
        &mut self,
        now: Timestamp,
        from: &HostId,
        heartbeat: Heartbeat,
    ) -> Result<HeartbeatAccepted, ErrorReply> {
        let Some(host) = self.hosts.get_mut(from) else {
            return Err(ErrorReply::new(
                ErrorCode::HostNotFound,
                format!("host {from} was never enrolled"),
            ));
        };
        if !host.living() {
            return Err(decommissioned(from));
        }
        let paged = heartbeat.pages > 1;
        if heartbeat.page > heartbeat.pages || (paged && heartbeat.shards.is_none()) {
            return Err(ErrorReply::new(
                ErrorCode::BadRequest,
                "page is not one of pages",
            ));
        }
        let report = ReportId {
            boot: heartbeat.boot_id,
            sequence: heartbeat.sequence,
        };
        if host.row.applied.is_some_and(|applied| report < applied) {
            self.stats.events.stale_reports += 1;
            return Ok(HeartbeatAccepted {
                accepted: true,
                send_inventory: false,
                stale: true,
            });
        }
        let repeated = host.row.applied == Some(report);
        let restarted = host
            .row
            .applied
            .is_some_and(|applied| applied.boot != report.boot);
        let back = !host.met || restarted || host.row.status != HostStatus::Online;
        let heard_before = host.row.last_heartbeat;

        host.inventory.drop_pages_before(report);
        host.inventory.wanted |= restarted;
        let partial = paged && !repeated;
        let version = heartbeat.agent_version.clone();
        let interval_ms = heartbeat.interval_ms;
        let inventory_error = heartbeat.inventory_error.clone();
        let inventory = if repeated {
            None
        } else {
            host.inventory.take_page(report, heartbeat)?
        };

        host.met = true;
        if inventory_error.is_none() {
            host.seen = Some(now);
        }
        host.unsaved = true;
        host.row.last_heartbeat = Some(now);
        host.row.interval_ms = interval_ms;
        if inventory.is_some() || !partial {
            host.row.applied = Some(report);
        }
        if inventory.is_some() {
            host.inventory.report = Some(report);
        }
        if host.row.status != HostStatus::Online
            || host.row.agent_version.as_ref() != Some(&version)
            || host.row.inventory_error != inventory_error
        {
            let row = HostRow {
                status: HostStatus::Online,
                agent_version: Some(version),
                inventory_error,
                ..host.row.clone()
            };
            self.put_host(row);
        }
        self.hear(now, from);
        let incomplete = partial && inventory.is_none();
        if let Some(inventory) = inventory {
            self.apply_inventory(now, from, inventory, heard_before);
        }
        if back {
            self.send_all_commands(now, from);
        }
        let send_inventory = !incomplete && self.wants_inventory(from);
        Ok(HeartbeatAccepted {
            accepted: true,
            send_inventory,
            stale: false,
        })
    }

    /// Whether a host's next heartbeat should list everything: nothing did yet since this process
    /// began, something was lost or came in the wrong order, or an operation was accepted since, which
    /// may need the proof at its deadline.
    fn wants_inventory(&self, id: &HostId) -> bool {
        let Some(host) = self.hosts.get(id) else {
            return false;
        };
        let Inventory {
            applied,
            wanted,
            accepted_since,
            ..
        } = &host.inventory;
        !applied || *wanted || !accepted_since.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use scuttle_schemas::Text;
    use scuttle_schemas::hosts::HostRecord;

    use crate::api::Effect;
    use crate::tests::scenario::Scenario;

    /// The hosts that were told.
    fn told(effects: &[Effect]) -> Vec<HostRecord> {
        let hosts = effects.iter().filter_map(|effect| match effect {
            Effect::HostsUpdated(message) => Some(message.updated.clone()),
            _ => None,
        });
        hosts.flatten().collect()
    }

    #[test]
    fn an_agent_that_sees_nothing_is_shown_as_such_and_what_it_saw_grows_old() {
        let mut swarm = Scenario::new();
        swarm.enroll("worker-h", Some("h")).expect("new");
        swarm.heartbeat("h", (7, 1), Some(&["a"]));
        let seen = swarm.shards("h")[0].last_seen;

        swarm.after_ms(10_000);
        swarm.inventory_error = Some("no Docker");
        let (_, effects) = swarm.heartbeat("h", (7, 2), None);
        let [host] = &told(&effects)[..] else {
            panic!("one host is told, not {effects:?}");
        };
        assert_eq!(
            host.inventory_error.as_ref().map(Text::as_str),
            Some("no Docker")
        );
        swarm.after_ms(10_000);
        let (_, effects) = swarm.heartbeat("h", (7, 3), None);
        assert_eq!(told(&effects), [], "it is told once");
        assert_eq!(swarm.states("h"), "a:Running");
        assert_eq!(swarm.shards("h")[0].last_seen, seen);

        swarm.inventory_error = None;
        let (_, effects) = swarm.heartbeat("h", (7, 4), None);
        assert_eq!(told(&effects)[0].inventory_error, None);
        assert_eq!(swarm.shards("h")[0].last_seen, swarm.now);
    }
}
