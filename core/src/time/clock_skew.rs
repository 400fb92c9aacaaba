//! A clock that was set back. Deadlines are moments of the day and stay; but nobody waits an hour for a
//! retry, for a sign of life or for a repeated revision because the clock shows an hour less.

use std::ops::Bound;

use scuttle_schemas::operations::OperationState;
use scuttle_schemas::{HostId, OperationId, Timestamp};

use crate::record::rows::OperationRow;
use crate::state::State;
use crate::state::timers::Timer;
use crate::time::backoff::LAST_MS;

/// What a clock may go back without anything being done about it, in milliseconds.
const SLACK_MS: i64 = 1_000;

impl State {
    /// Looks at the clock: every step does so first.
    pub(crate) fn look_at_clock(&mut self, now: Timestamp) {
        if now.plus_millis(SLACK_MS) < self.looked_at {
            self.set_back(now);
        }
        self.looked_at = now;
    }

    fn set_back(&mut self, now: Timestamp) {
        self.beacons.set_back(now);
        let heard_later: Vec<HostId> = (self.hosts.values())
            .filter(|host| host.heard.is_some_and(|heard| heard > now))
            .map(|host| host.row.host.clone())
            .collect();
        for host in heard_later {
            self.hear(now, &host);
        }
        // No attempt is ever planned later than this.
        let latest = now.plus_millis(LAST_MS.cast_signed());
        let after = (latest, Timer::Operation(OperationId(uuid::Uuid::max())));
        let later = self
            .timers
            .range((Bound::Excluded(after), Bound::Unbounded));
        let rows: Vec<OperationRow> = later
            .filter_map(|(_, timer)| match timer {
                Timer::Operation(id) => self.operations.get(id),
                Timer::Liveness(_) => None,
            })
            .filter(|row| row.state != OperationState::Running && row.next_attempt_at > latest)
            .map(|row| OperationRow::clone(row))
            .collect();
        for row in rows {
            self.keep_operation(OperationRow {
                next_attempt_at: now,
                ..row
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use scuttle_schemas::hosts::HostStatus;

    use crate::api::{Effect, Input};
    use crate::tests::scenario::Scenario;

    #[test]
    fn a_clock_that_is_set_back_holds_nothing_up() {
        let mut swarm = Scenario::new();
        swarm.enroll("worker-h", Some("h")).expect("new");
        swarm.heartbeat("h", (1, 1), Some(&["a"]));
        let (one, _) = swarm.teardown("h", Some("a")).expect("accepted");
        swarm.now = swarm.now.plus_millis(-3_600_000);
        swarm.input(Input::Tick);
        let mut effects = swarm.after_ms(60_000);
        effects.extend(swarm.crash());
        let told = |wanted: fn(&Effect) -> bool| effects.iter().any(wanted);
        assert!(told(|effect| matches!(effect, Effect::Command { .. })));
        assert!(told(|effect| matches!(effect, Effect::ShardsUpdated(..))));
        assert!(told(|effect| matches!(
            effect,
            Effect::HostsUpdated(message) if message.updated.iter().any(|host| host.status == HostStatus::Offline)
        )));
        assert!(swarm.operation(one.operation_id).attempts > 1);
    }
}
