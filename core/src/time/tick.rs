//! Runs the timers that are due, and computes the time of the next `Tick`.

use scuttle_schemas::operations::OperationState;
use scuttle_schemas::{OperationId, Timestamp};

use crate::record::operation_state::is_open;
use crate::record::rows::OperationRow;
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
        let others = [timer, self.next_removal_at()].into_iter().flatten();
        others.fold(self.idle_repeats.next_due_at(), Timestamp::min)
    }

    /// Runs the timers that are due, at most [`MAX_TIMERS_PER_TICK`] of them, and repeats the last
    /// revisions of idle broadcast subjects.
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
                Timer::Operation(id) => self.wake_operation(now, id),
                Timer::Liveness(host) => self.check_liveness(now, &host),
            }
        }
        self.repeat_idle_revisions(now);
    }

    fn wake_operation(&mut self, now: Timestamp, id: OperationId) {
        match self.operations.get(&id) {
            Some(row) if is_open(row.state) && row.deadline <= now => {
                self.expire_operation(now, id);
            }
            Some(row) if is_open(row.state) => self.resend_command(now, id),
            Some(row) if row.state == OperationState::Cancelled => {
                let row = OperationRow::clone(row);
                self.send_cancel_command(now, row);
            }
            _ => {}
        }
    }
}
