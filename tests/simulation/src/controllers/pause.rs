//! Pauses of controllers. A pause stops only the process, as SIGSTOP does, or the whole machine
//! with its clock.

use crate::simulation::{Simulation, note};
use crate::state::controllers::process::Pause;
use crate::state::event::Event;

impl Simulation {
    /// Pauses the controller's process for a random time. Does nothing if the process is down or
    /// already paused.
    pub(crate) fn pause_controller(&mut self, controller: usize) {
        let pause_ms = self.rng.pick_between(100, 8_000);
        let with_clock = self.rng.roll_per_mille(300);
        let controller_state = &mut self.controllers[controller];
        let Some(process) = &mut controller_state.process else {
            return;
        };
        if controller_state.pause.until > self.now {
            return;
        }
        controller_state.pause = Pause {
            since: self.now,
            until: self.now + pause_ms,
            with_clock,
        };
        if let (Some(lease), true) = (&mut process.lease, with_clock) {
            *lease += pause_ms;
        }
        note!(
            self,
            "controller {controller} is paused for {pause_ms} ms{}",
            if with_clock {
                ", and its clock with it"
            } else {
                ""
            }
        );
    }

    pub(crate) fn is_paused(&self, controller: usize) -> bool {
        self.controllers[controller].pause.until > self.now
    }

    /// Reschedules an event of a paused process for the time at which the process resumes. If the
    /// process's clock stopped too, an event on that clock is delayed by the length of the pause.
    pub(crate) fn postpone(&mut self, controller: usize, event: Event) {
        let pause = &self.controllers[controller].pause;
        let uses_its_clock = matches!(event, Event::CheckLease { .. } | Event::Wake { .. });
        let at = if pause.with_clock && uses_its_clock {
            self.now + (pause.until - pause.since)
        } else {
            pause.until
        };
        self.schedule(at - self.now, event);
    }
}
