//! Clock skew: corrections after the clock was set back.
//!
//! Deadlines are points in time and are not changed. Delays and timeouts (for retries, offline
//! hosts and idle repeats) must not become longer because the clock shows an earlier time.

use scuttle_schemas::{HostId, Timestamp};

use crate::state::State;
use crate::state::timers::Timer;
use crate::time::backoff::MAX_DELAY_MS;
use crate::time::resend::FULL_RESEND_INTERVAL_MS;

/// The maximum time in milliseconds by which the clock may be set back without a correction.
const TOLERANCE_MS: i64 = 1_000;

impl State {
    /// Corrects the times in the state if the clock was set back since the last step. Every step
    /// calls this function first.
    pub(crate) fn check_clock(&mut self, now: Timestamp) {
        if now.plus_millis(TOLERANCE_MS) < self.last_step_at {
            self.correct_times(now);
        }
        self.last_step_at = now;
    }

    /// Corrects times that lie too far in the future at the current `now`: idle periods and offline
    /// timeouts restart, and late retries become due immediately.
    fn correct_times(&mut self, now: Timestamp) {
        self.idle_repeats.limit_to(now);
        let heard_later: Vec<HostId> = (self.hosts.values())
            .filter(|host| host.last_heard.is_some_and(|at| at > now))
            .map(|host| host.row.host.clone())
            .collect();
        for host in heard_later {
            self.record_heard(now, &host);
        }
        self.late_announcements.limit_to(now);
        self.correct_resends(now);
    }

    /// Makes retries and full resends that are scheduled too late due now.
    fn correct_resends(&mut self, now: Timestamp) {
        let latest_retry = now.plus_millis(MAX_DELAY_MS.cast_signed());
        for (id, host) in &mut self.hosts {
            for (operation, delivery) in &mut host.deliveries {
                if delivery
                    .next_attempt_at()
                    .is_some_and(|at| at > latest_retry)
                {
                    delivery.schedule(&mut self.timers, *operation, Some(now));
                }
            }
            let last = &mut host.last_full_resend_at;
            *last = last.map(|at| at.min(now));
            if let Some(at) = host.full_resend_due_at {
                let earlier = at.min(now.plus_millis(FULL_RESEND_INTERVAL_MS));
                host.full_resend_due_at = Some(earlier);
                self.timers.remove(&(at, Timer::FullResend(id.clone())));
                self.timers.insert((earlier, Timer::FullResend(id.clone())));
            }
            let announced_at = &mut host.announced_at;
            *announced_at = announced_at.map(|at| at.min(now));
        }
    }
}

#[cfg(test)]
mod tests {
    use scuttle_schemas::hosts::HostStatus;

    use crate::api::{Effect, Input};
    use crate::tests::scenario::{Scenario, report};

    #[test]
    fn a_clock_that_is_set_back_delays_nothing() {
        let mut swarm = Scenario::new();
        swarm.enroll("worker-h", Some("h")).expect("new");
        swarm.heartbeat("h", report(1, 1), Some(&["a"]));
        let (accepted, _) = swarm.teardown("h", Some("a")).expect("accepted");
        swarm.now = swarm.now.plus_millis(-3_600_000);
        swarm.apply(Input::Tick);
        let mut effects = swarm.advance_ms(60_000);
        assert!(swarm.operation(accepted.operation_id).attempts > 1);
        effects.extend(swarm.crash_and_restart());
        let sent = |wanted: fn(&Effect) -> bool| effects.iter().any(wanted);
        assert!(sent(|effect| matches!(effect, Effect::Command { .. })));
        assert!(sent(|effect| matches!(effect, Effect::ShardsUpdated(..))));
        assert!(sent(|effect| match effect {
            Effect::HostsUpdated(message) => {
                let mut hosts = message.updated.iter();
                hosts.any(|host| host.status == HostStatus::Offline)
            }
            _ => false,
        }));
    }
}
