//! Liveness: a host goes offline when its heartbeats stop.

use scuttle_schemas::hosts::HostStatus;
use scuttle_schemas::{HostId, Timestamp};

use crate::state::State;
use crate::state::timers::Timer;

impl State {
    /// Records that a heartbeat of a host has just arrived, or that heartbeats are expected from
    /// now on.
    pub(crate) fn record_heard(&mut self, now: Timestamp, id: &HostId) {
        let Some(host) = self.hosts.get_mut(id) else {
            return;
        };
        host.last_heard = Some(now);
        let Some(at) = host.silent_at() else { return };
        // An existing earlier check schedules the next one itself, so most heartbeats set no timer.
        if host.liveness_check_at.is_none_or(|check_at| at < check_at) {
            self.schedule_liveness_check(at, id);
        }
    }

    /// Sets a host offline if its heartbeats have stopped. Otherwise schedules the next check.
    pub(crate) fn check_liveness(&mut self, now: Timestamp, id: &HostId) {
        let Some(host) = self.hosts.get_mut(id) else {
            return;
        };
        host.liveness_check_at = None;
        match host.silent_at() {
            Some(at) if at > now => self.schedule_liveness_check(at, id),
            Some(_) => {
                host.last_heard = None;
                let mut row = host.row.clone();
                row.status = HostStatus::Offline;
                row.notes = host.note_two_agents(now, row.notes);
                self.put_host(row);
            }
            None => {}
        }
    }

    fn schedule_liveness_check(&mut self, at: Timestamp, id: &HostId) {
        let Some(host) = self.hosts.get_mut(id) else {
            return;
        };
        if let Some(before) = host.liveness_check_at.replace(at) {
            self.timers.remove(&(before, Timer::Liveness(id.clone())));
        }
        self.timers.insert((at, Timer::Liveness(id.clone())));
    }

    /// Removes the timer that checks a host's heartbeats, because no more heartbeats are expected.
    pub(crate) fn cancel_liveness_check(&mut self, id: &HostId) {
        let Some(host) = self.hosts.get_mut(id) else {
            return;
        };
        host.last_heard = None;
        if let Some(at) = host.liveness_check_at.take() {
            self.timers.remove(&(at, Timer::Liveness(id.clone())));
        }
    }
}
