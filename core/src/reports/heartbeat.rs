//! `agent.<host_uuid>.heartbeat`: a host is online, and may report its inventory.

use scuttle_schemas::agents::{Heartbeat, HeartbeatAccepted};
use scuttle_schemas::hosts::HostStatus;
use scuttle_schemas::{BootId, ErrorCode, ErrorReply, HostId, Timestamp};

use crate::errors::{host_decommissioned, host_not_found};
use crate::record::rows::{HostRow, ReportId};
use crate::reports::boot_id::check_boot_id;
use crate::reports::shard_limit::carry_limit_note;
use crate::state::State;

impl State {
    /// Applies a heartbeat: sets the host online, applies the inventory once all pages have
    /// arrived, and resends open commands if the agent was away.
    ///
    /// A heartbeat that is older than the last applied report, or than an inventory of which only
    /// some pages have arrived, changes nothing. A heartbeat without a durable change stores
    /// nothing. A heartbeat from an unknown, decommissioned or quarantined host, with an invalid
    /// page, or from a boot far ahead of the controller's clock, is rejected.
    pub(crate) fn apply_heartbeat(
        &mut self,
        now: Timestamp,
        from: &HostId,
        mut heartbeat: Heartbeat,
    ) -> Result<HeartbeatAccepted, ErrorReply> {
        let Some(host) = self.hosts.get_mut(from) else {
            return Err(host_not_found(from));
        };
        if !host.is_active() {
            return Err(host_decommissioned(host.identity()));
        }
        // This report was received before the quarantine. Its notes must not replace the note on
        // the quarantine.
        if host.quarantined {
            let message = format!("host {from} is quarantined");
            return Err(ErrorReply::new(ErrorCode::BadRequest, message));
        }
        check_boot_id(now, heartbeat.boot_id)?;
        let is_paged = heartbeat.pages > 1;
        if heartbeat.page > heartbeat.pages || (is_paged && heartbeat.shards.is_none()) {
            return Err(ErrorReply::new(
                ErrorCode::BadRequest,
                "`page` must be at most `pages`, and every page must have `shards`",
            ));
        }
        let report = ReportId {
            boot: heartbeat.boot_id,
            sequence: heartbeat.sequence,
        };
        let applied = host.row.applied;
        // The pages of a newer inventory that is still arriving count too, so that an older report
        // neither replaces them nor is applied after them.
        let newest = applied.max(host.inventory.arriving_report());
        if let Some(newest) = newest.filter(|newest| report < *newest) {
            return Ok(self.answer_stale(now, from, newest.boot, &heartbeat));
        }
        let is_repeat = applied == Some(report);
        let has_restarted = applied.is_some_and(|applied| applied.boot != report.boot);
        // The last applied report may be a result of the new boot.
        let is_back = host.resent_to != Some(report.boot) || host.row.status != HostStatus::Online;
        let heartbeat_before = host.row.last_heartbeat;

        host.earlier_agent.take_if(|_| has_restarted);
        host.inventory.drop_pages_before(report);
        host.inventory.is_requested |= has_restarted;
        let is_partial = is_paged && !is_repeat;
        let version = heartbeat.agent_version.clone();
        let interval_ms = heartbeat.interval_ms;
        let inventory_error = heartbeat.inventory_error.clone();
        // Only the first page has the notes, so the other pages leave them as they are.
        let notes = if heartbeat.page == 1 {
            let notes = std::mem::take(&mut heartbeat.notes);
            host.clock.record(now, heartbeat.sent_at);
            let notes = host.clock.note_skew(notes);
            host.note_two_agents(now, carry_limit_note(notes, &host.row.notes))
        } else {
            host.row.notes.clone()
        };
        let inventory = if is_repeat {
            None
        } else {
            host.inventory.add_page(report, heartbeat)?
        };

        if inventory_error.is_none() {
            host.inventory_seen_at = Some(now);
        }
        host.row_unsaved = true;
        host.row.last_heartbeat = Some(now);
        host.row.interval_ms = interval_ms;
        if inventory.is_some() || !is_partial {
            host.row.applied = Some(report);
        }
        if inventory.is_some() {
            host.inventory.applied_report = Some(report);
        }
        let confirms_inventory = !is_partial && inventory_error.is_none();
        let is_removal_due = confirms_inventory && host.inventory.is_removal_due(now);
        let comes_online = host.row.status != HostStatus::Online;
        if comes_online
            || host.row.agent_version.as_ref() != Some(&version)
            || host.row.inventory_error != inventory_error
            || host.row.notes != notes
        {
            let row = HostRow {
                status: HostStatus::Online,
                agent_version: Some(version),
                inventory_error,
                notes,
                ..host.row.clone()
            };
            if comes_online {
                self.put_host(row);
            } else {
                self.put_reported_host(now, row);
            }
        }
        self.record_heard(now, from);
        let is_incomplete = is_partial && inventory.is_none();
        if let Some(inventory) = inventory {
            self.apply_inventory(now, from, inventory, heartbeat_before);
        } else if is_removal_due {
            self.remove_unreported_shards(now, from);
        }
        if is_back {
            self.request_full_resend(now, from, report.boot);
        }
        Ok(HeartbeatAccepted {
            accepted: true,
            send_inventory: !is_incomplete && self.needs_inventory(from),
            stale: false,
            other_agent: self.hosts.get(from).and_then(|host| host.other_agent(now)),
        })
    }

    /// Answers a heartbeat that is older than a report of the boot `newest`. If an earlier boot
    /// still reports, says so in the notes of the host.
    fn answer_stale(
        &mut self,
        now: Timestamp,
        id: &HostId,
        newest: BootId,
        heartbeat: &Heartbeat,
    ) -> HeartbeatAccepted {
        self.stats.events.stale_reports += 1;
        let mut reply = HeartbeatAccepted {
            accepted: true,
            send_inventory: false,
            stale: true,
            other_agent: None,
        };
        let Some(host) = self.hosts.get_mut(id) else {
            return reply;
        };
        if newest <= heartbeat.boot_id {
            return reply;
        }
        reply.other_agent = Some(host.current_agent(now, newest));
        host.record_earlier_agent(now, heartbeat);
        let notes = host.note_two_agents(now, host.row.notes.clone());
        if notes != host.row.notes {
            let row = HostRow {
                notes,
                ..host.row.clone()
            };
            self.put_reported_host(now, row);
        }
        reply
    }

    /// Returns whether the next heartbeat of a host should have a full inventory, which is the case
    /// if at least one of these is true:
    ///
    /// - this process has not applied an inventory of the host yet;
    /// - pages were lost, or reports arrived out of order;
    /// - an operation was accepted since the last inventory, and may need a newer one as a proof at
    ///   its deadline.
    fn needs_inventory(&self, id: &HostId) -> bool {
        let Some(host) = self.hosts.get(id) else {
            return false;
        };
        let inventory = &host.inventory;
        !inventory.has_applied || inventory.is_requested || inventory.is_older_than_an_operation()
    }
}

#[cfg(test)]
mod tests {
    use scuttle_schemas::hosts::HostRecord;
    use scuttle_schemas::{Note, Text};

    use crate::api::Effect;
    use crate::tests::scenario::{Page, Scenario, report};

    fn announced_hosts(effects: &[Effect]) -> Vec<HostRecord> {
        let hosts = effects.iter().filter_map(|effect| match effect {
            Effect::HostsUpdated(message) => Some(message.updated.clone()),
            _ => None,
        });
        hosts.flatten().collect()
    }

    #[test]
    fn an_inventory_error_is_announced_once_and_last_seen_does_not_advance() {
        let mut swarm = Scenario::new();
        swarm.enroll("worker-h", Some("h")).expect("new");
        swarm.heartbeat("h", report(7, 1), Some(&["a"]));
        let last_seen = swarm.shards("h")[0].last_seen;

        swarm.advance_ms(10_000);
        swarm.inventory_error = Some("no Docker");
        let (_, effects) = swarm.heartbeat("h", report(7, 2), None);
        let [host] = &announced_hosts(&effects)[..] else {
            panic!("expected one announced host: {effects:?}");
        };
        assert_eq!(
            host.inventory_error.as_ref().map(Text::as_str),
            Some("no Docker")
        );
        swarm.advance_ms(10_000);
        let (_, effects) = swarm.heartbeat("h", report(7, 3), None);
        assert_eq!(announced_hosts(&effects), [], "announced once");
        assert_eq!(swarm.states("h"), "a:Running");
        assert_eq!(swarm.shards("h")[0].last_seen, last_seen);

        swarm.inventory_error = None;
        let (_, effects) = swarm.heartbeat("h", report(7, 4), None);
        assert_eq!(announced_hosts(&effects)[0].inventory_error, None);
        assert_eq!(swarm.shards("h")[0].last_seen, swarm.now);
    }

    #[test]
    fn notes_are_announced_once_and_survive_a_restart() {
        let mut swarm = Scenario::new();
        swarm.enroll("worker-h", Some("h")).expect("new");
        swarm.notes = &["project trap2 has no label"];
        let (_, effects) = swarm.heartbeat("h", report(7, 1), Some(&["a"]));
        let announced = announced_hosts(&effects);
        assert_eq!(
            announced[0].notes,
            [Note::from("project trap2 has no label")]
        );
        let (_, effects) = swarm.heartbeat("h", report(7, 2), None);
        assert_eq!(announced_hosts(&effects), [], "announced once");
        swarm.crash_and_restart();
        assert_eq!(swarm.state.hosts["h"].row.notes, announced[0].notes);
        swarm.notes = &[];
        let (_, effects) = swarm.heartbeat("h", report(7, 3), None);
        assert_eq!(announced_hosts(&effects)[0].notes, []);
    }

    #[test]
    fn an_older_report_between_the_pages_of_a_newer_inventory_is_stale() {
        for older in [report(7, 9), report(8, 1)] {
            let mut swarm = Scenario::new();
            swarm.enroll("worker-h", Some("h")).expect("new");
            swarm.heartbeat("h", report(7, 1), Some(&["a"]));
            assert!(!swarm.send_page("h", report(8, 2), Page(1, 2), &["b"]).stale);
            assert!(swarm.send_page("h", older, Page(1, 2), &["x"]).stale);
            assert!(swarm.heartbeat("h", older, Some(&["x"])).0.stale);
            assert!(swarm.heartbeat("h", older, None).0.stale);
            assert!(!swarm.send_page("h", report(8, 2), Page(2, 2), &["c"]).stale);
            assert_eq!(swarm.states("h"), "a:Degraded b:Running c:Running");
        }
    }
}
