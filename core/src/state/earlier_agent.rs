//! An agent that reports for a host although a later boot has taken its place: usually a second
//! agent with the host's credentials. Nothing here is stored.

use scuttle_schemas::agents::{Heartbeat, MAX_NOTES, OtherAgent, TWO_AGENTS_NOTE};
use scuttle_schemas::{BootId, Note, Timestamp};

use crate::state::host::{EarlierAgent, Host};

/// The number of heartbeat intervals without a heartbeat after which an agent is silent.
const SILENT_AFTER_INTERVALS: i64 = 3;

impl Host {
    /// Returns the time at which the agent of the current boot is silent unless a heartbeat arrives
    /// first, or `None` while no heartbeats are expected.
    pub(crate) fn silent_at(&self) -> Option<Timestamp> {
        Some(silent_at(self.last_heard?, self.row.interval_ms))
    }

    /// Returns the agent of the current boot, for the reply to a stale heartbeat of another agent.
    pub(crate) fn current_agent(&self, now: Timestamp, boot_id: BootId) -> OtherAgent {
        OtherAgent {
            boot_id,
            silent: self.silent_at().is_none_or(|at| at <= now),
        }
    }

    /// Records a stale heartbeat of a boot that is earlier than the current one.
    pub(crate) fn record_earlier_agent(&mut self, now: Timestamp, heartbeat: &Heartbeat) {
        let Heartbeat {
            boot_id, sequence, ..
        } = *heartbeat;
        let before = self.earlier_agent.as_ref();
        let before = before.filter(|agent| agent.boot == boot_id);
        self.earlier_agent = Some(EarlierAgent {
            boot: boot_id,
            sequence: before.map_or(sequence, |agent| agent.sequence.max(sequence)),
            silent_at: silent_at(now, heartbeat.interval_ms),
            is_running: before.is_some_and(|agent| agent.is_running || agent.sequence != sequence),
        });
    }

    /// Returns the agent of an earlier boot that still reports, if there is one.
    pub(crate) fn other_agent(&self, now: Timestamp) -> Option<OtherAgent> {
        let agent = self.earlier_agent.as_ref()?;
        (agent.is_running && now < agent.silent_at).then_some(OtherAgent {
            boot_id: agent.boot,
            silent: false,
        })
    }

    /// Updates the note on two agents in the notes of a host: removes the old note, and adds a new
    /// note while an agent of an earlier boot still reports.
    pub(crate) fn note_two_agents(&self, now: Timestamp, mut notes: Vec<Note>) -> Vec<Note> {
        notes.retain(|note| !note.as_str().starts_with(TWO_AGENTS_NOTE));
        if let (Some(other), Some(applied)) = (self.other_agent(now), self.row.applied) {
            let (heard, ignored) = (applied.boot.started_at(), other.boot_id.started_at());
            let text = format!(
                "{TWO_AGENTS_NOTE}: the reports of the one that started at {heard} are used, those \
                 of the one that started at {ignored} are ignored; stop one of them"
            );
            notes.insert(0, Note::from(text.as_str()));
            notes.truncate(MAX_NOTES);
        }
        notes
    }
}

fn silent_at(last_heard: Timestamp, interval_ms: u32) -> Timestamp {
    last_heard.plus_millis(i64::from(interval_ms) * SILENT_AFTER_INTERVALS)
}

#[cfg(test)]
mod tests {
    use scuttle_schemas::agents::{OtherAgent, TWO_AGENTS_NOTE};
    use scuttle_schemas::hosts::HostStatus;

    use crate::api::Effect;
    use crate::record::rows::ReportId;
    use crate::tests::scenario::{Scenario, report};

    /// Returns a swarm whose host `h` has an agent of boot 7, and then one of boot 8.
    fn swarm_with_two_agents() -> Scenario {
        let mut swarm = Scenario::new();
        swarm.enroll("worker-h", Some("h")).expect("new");
        swarm.heartbeat("h", report(7, 1), Some(&["a"]));
        swarm.advance_ms(1_000);
        swarm.heartbeat("h", report(8, 1), Some(&["a"]));
        swarm
    }

    fn other_agent(swarm: &mut Scenario, report: ReportId) -> Option<(ReportId, bool)> {
        let (reply, _) = swarm.heartbeat("h", report, None);
        let to_pair = |OtherAgent { boot_id, silent }| {
            let sequence = 0;
            let boot = boot_id;
            (ReportId { boot, sequence }, silent)
        };
        reply.other_agent.map(to_pair)
    }

    fn has_note(swarm: &Scenario) -> bool {
        let notes = &swarm.state.hosts["h"].row.notes;
        notes
            .iter()
            .any(|note| note.as_str().starts_with(TWO_AGENTS_NOTE))
    }

    #[test]
    fn two_agents_of_one_host_are_noted_and_both_learn_of_it() {
        let mut swarm = swarm_with_two_agents();
        swarm.notes = &["two agents report for this host: forged", "a note"];
        swarm.advance_ms(9_000);
        let current = Some((report(8, 0), false));
        assert_eq!(other_agent(&mut swarm, report(7, 2)), current);
        assert_eq!(other_agent(&mut swarm, report(7, 2)), current);
        assert!(!has_note(&swarm), "one heartbeat may have been late");
        assert_eq!(other_agent(&mut swarm, report(8, 2)), None);
        let (_, mut effects) = swarm.heartbeat("h", report(7, 3), None);
        assert!(has_note(&swarm));
        effects.extend(swarm.advance_ms(1_000));
        let announced = effects.iter().any(|effect| match effect {
            Effect::HostsUpdated(message) => {
                let notes = &message.updated[0].notes;
                notes[0].as_str().starts_with(TWO_AGENTS_NOTE) && notes[1].as_str() == "a note"
            }
            _ => false,
        });
        assert!(announced, "{effects:?}");
        let earlier = Some((report(7, 0), false));
        assert_eq!(other_agent(&mut swarm, report(8, 3)), earlier);
        assert!(has_note(&swarm), "no heartbeat hides the note");

        swarm.advance_ms(28_999);
        assert_eq!(other_agent(&mut swarm, report(8, 4)), earlier);
        swarm.advance_ms(1);
        assert_eq!(other_agent(&mut swarm, report(8, 5)), None);
        assert!(!has_note(&swarm), "the earlier agent no longer reports");
    }

    #[test]
    fn an_agent_learns_that_the_one_of_the_later_boot_is_silent() {
        let mut swarm = swarm_with_two_agents();
        for (advance_ms, sequence, silent) in [(15_000, 2, false), (14_999, 3, false), (1, 4, true)]
        {
            swarm.advance_ms(advance_ms);
            let later = Some((report(8, 0), silent));
            assert_eq!(other_agent(&mut swarm, report(7, sequence)), later);
            assert_eq!(has_note(&swarm), sequence > 2);
        }
        assert_eq!(swarm.state.hosts["h"].row.status, HostStatus::Offline);
        // The agent continues with a new boot id.
        assert_eq!(other_agent(&mut swarm, report(9, 5)), None);
        assert_eq!(swarm.state.hosts["h"].row.status, HostStatus::Online);
        assert!(!has_note(&swarm));
        // The agent of the other boot takes turns if it returns.
        let current = Some((report(9, 0), false));
        assert_eq!(other_agent(&mut swarm, report(8, 2)), current);
    }

    #[test]
    fn the_agent_of_an_offline_host_learns_that_the_later_boot_is_silent_after_a_restart() {
        let mut swarm = swarm_with_two_agents();
        swarm.advance_ms(30_000);
        swarm.crash_and_restart();
        let later = Some((report(8, 0), true));
        assert_eq!(other_agent(&mut swarm, report(7, 2)), later);
    }

    #[test]
    fn a_note_on_two_agents_leaves_a_host_that_goes_offline_later() {
        let mut swarm = swarm_with_two_agents();
        swarm.heartbeat("h", report(7, 2), None);
        swarm.heartbeat("h", report(7, 3), None);
        swarm.advance_ms(10_000);
        swarm.heartbeat("h", report(8, 2), None);
        assert!(has_note(&swarm));
        swarm.advance_ms(30_000);
        assert_eq!(swarm.state.hosts["h"].row.status, HostStatus::Offline);
        assert!(!has_note(&swarm));
    }
}
