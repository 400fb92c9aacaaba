//! The clock of a host, compared with the controller's. Nothing here is stored.

use scuttle_schemas::agents::{CLOCK_SKEW_NOTE, MAX_NOTES};
use scuttle_schemas::{Note, Timestamp};

/// The maximum difference between the clocks that is not noted, in milliseconds.
const TOLERANCE_MS: i64 = 60_000;

/// The minimum change of the difference for which the note is updated, in milliseconds. Smaller
/// changes are mostly delays of messages.
const MIN_CHANGE_MS: i64 = 30_000;

/// The differences between a host's clock and the controller's: the host's time minus the
/// controller's, in milliseconds.
#[derive(Debug, Default)]
pub(crate) struct HostClock {
    /// The difference that the last heartbeat showed, if it was above [`TOLERANCE_MS`].
    last_skew: Option<i64>,
    /// The difference in the note on the host.
    noted_skew: Option<i64>,
}

impl HostClock {
    /// Records the time at which the agent sent a heartbeat that arrived at the time `now`. Two
    /// heartbeats in a row must show a difference, because one may have been delayed.
    pub(crate) fn record(&mut self, now: Timestamp, sent_at: Option<Timestamp>) {
        let skew = sent_at.map(|at| at.millis_since(now));
        let skew = skew.filter(|skew| skew.abs() > TOLERANCE_MS);
        let before = std::mem::replace(&mut self.last_skew, skew);
        let confirmed = match (before, skew) {
            (Some(before), Some(skew)) if before.signum() == skew.signum() => Some(skew),
            _ => None,
        };
        let is_noted = |skew: i64| {
            let noted = self.noted_skew;
            noted.is_some_and(|noted| noted.abs_diff(skew) < MIN_CHANGE_MS.unsigned_abs())
        };
        if !confirmed.is_some_and(is_noted) {
            self.noted_skew = confirmed;
        }
    }

    /// Updates the note on the clock in the notes of a host: removes the old note, and adds a new
    /// note while the clocks differ.
    pub(crate) fn note_skew(&self, mut notes: Vec<Note>) -> Vec<Note> {
        notes.retain(|note| !note.as_str().starts_with(CLOCK_SKEW_NOTE));
        if let Some(skew) = self.noted_skew {
            let direction = if skew > 0 { "ahead of" } else { "behind" };
            let seconds = skew.abs() / 1000;
            let text = format!(
                "{CLOCK_SKEW_NOTE} about {seconds} s {direction} the controller's; synchronize both with NTP"
            );
            notes.insert(0, Note::from(text.as_str()));
            notes.truncate(MAX_NOTES);
        }
        notes
    }
}

#[cfg(test)]
mod tests {
    use scuttle_schemas::agents::CLOCK_SKEW_NOTE;

    use crate::tests::scenario::{Scenario, report};

    /// Sends a heartbeat of a host whose clock is `skew_ms` ahead, and returns the note on the
    /// clock.
    fn heartbeat(swarm: &mut Scenario, sequence: u64, skew_ms: i64) -> Option<String> {
        swarm.advance_ms(10_000);
        swarm.sent_at = Some(swarm.now.plus_millis(skew_ms));
        swarm.heartbeat("h", report(7, sequence), None);
        let notes = &swarm.state.hosts["h"].row.notes;
        let mut notes = notes.iter().map(|note| note.as_str().to_owned());
        notes.find(|note| note.starts_with(CLOCK_SKEW_NOTE))
    }

    #[test]
    fn a_clock_that_two_heartbeats_show_to_differ_is_noted_until_it_is_right() {
        let mut swarm = Scenario::new();
        swarm.enroll("worker-h", Some("h")).expect("new");
        swarm.notes = &["the clock of this host is forged"];
        assert_eq!(heartbeat(&mut swarm, 1, 60_000), None);
        assert_eq!(heartbeat(&mut swarm, 2, 75_000), None, "it may be delayed");
        let ahead = heartbeat(&mut swarm, 3, 75_000).expect("a note");
        assert!(ahead.contains("about 75 s ahead of"), "{ahead}");
        // A small change causes no broadcast.
        assert_eq!(heartbeat(&mut swarm, 4, 80_000), Some(ahead));
        let later = heartbeat(&mut swarm, 5, 120_000).expect("a note");
        assert!(later.contains("about 120 s"), "{later}");
        assert_eq!(heartbeat(&mut swarm, 6, -90_000), None);
        let behind = heartbeat(&mut swarm, 7, -90_000).expect("a note");
        assert!(behind.contains("about 90 s behind"), "{behind}");
        assert_eq!(heartbeat(&mut swarm, 8, 10), None);
    }
}
