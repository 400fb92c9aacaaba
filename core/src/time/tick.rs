//! Time: what is due, in order of when. Commands are sent again, deadlines pass, hosts fall silent,
//! and a silent broadcast subject repeats its last revision.

use scuttle_schemas::operations::OperationState;
use scuttle_schemas::{OperationId, Timestamp};

use crate::record::operation_state::is_open;
use crate::record::rows::OperationRow;
use crate::state::State;
use crate::state::timers::Timer;

/// The most timers that one `Tick` serves; what is left is still due at the next one. As many as there are requests in a
/// batch under load, so that ten thousand commands that are due again take half of the time at the most.
const TIMERS_PER_TICK: usize = 64;

impl State {
    /// When the next `Tick` is wanted.
    pub fn next_deadline(&self) -> Timestamp {
        let timer = self.timers.first().map(|(at, _)| *at);
        let others = [timer, self.retires_at()].into_iter().flatten();
        others.fold(self.beacons.next(), Timestamp::min)
    }

    pub(crate) fn tick(&mut self, now: Timestamp) {
        for _ in 0..TIMERS_PER_TICK {
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
        self.repeat_revisions(now);
    }

    fn wake_operation(&mut self, now: Timestamp, id: OperationId) {
        match self.operations.get(&id) {
            Some(row) if is_open(row.state) && row.deadline <= now => self.expire(now, id),
            Some(row) if is_open(row.state) => self.send_command(now, id),
            Some(row) if row.state == OperationState::Cancelled => {
                let row = OperationRow::clone(row);
                self.withdraw(now, row);
            }
            _ => {}
        }
    }
}
