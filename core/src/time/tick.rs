//! Runs the timers that are due, and computes the time of the next `Tick`.

use scuttle_schemas::{OperationId, Timestamp};

use crate::record::operation_state::is_open;
use crate::state::State;
use crate::state::timers::Timer;

/// The maximum number of timers that one `Tick` runs. The remaining timers are still due at the
/// next `Tick`.
///
/// A batch under load has about the same number of requests. So even if ten thousand commands must
/// be resent, sending them takes at most half of the engine's time.
const MAX_TIMERS_PER_TICK: usize = 64;

impl State {
    /// Returns the time at which the next `Tick` is due.
    pub fn next_deadline(&self) -> Timestamp {
        let timer = self.timers.first().map(|(at, _)| *at);
        let announcement = self.late_announcements.due_at();
        let others = [timer, announcement, self.next_removal_at()];
        let others = others.into_iter().flatten();
        others.fold(self.idle_repeats.next_due_at(), Timestamp::min)
    }

    /// Runs the timers that are due, at most [`MAX_TIMERS_PER_TICK`] of them, announces hosts whose
    /// announcement was delayed, and repeats the last revisions of idle broadcast subjects.
    pub(crate) fn tick(&mut self, now: Timestamp) {
        for _ in 0..MAX_TIMERS_PER_TICK {
            let Some((at, timer)) = self.timers.first().cloned() else {
                break;
            };
            if at > now {
                break;
            }
            self.timers.pop_first();
            match timer {
                Timer::Deadline(id) => self.end_at_deadline(now, id),
                Timer::Retry(id) => self.retry_command(now, id),
                Timer::FullResend(host) => self.run_full_resend(now, &host),
                Timer::Liveness(host) => self.check_liveness(now, &host),
            }
        }
        let late = self.late_announcements.take_due(now);
        self.batch.announced_hosts.extend(late);
        self.repeat_idle_revisions(now);
    }

    /// Ends an open operation, and drops the command of a cancelled one.
    fn end_at_deadline(&mut self, now: Timestamp, id: OperationId) {
        let Some(row) = self.operations.get(&id) else {
            return;
        };
        if is_open(row.state) {
            self.expire_operation(now, id);
        } else if let Some(host) = self.hosts.get_mut(&row.host)
            && let Some(mut delivery) = host.deliveries.remove(&id)
        {
            delivery.schedule(&mut self.timers, id, None);
        }
    }
}
