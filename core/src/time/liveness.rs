//! Liveness.

use scuttle_schemas::hosts::HostStatus;
use scuttle_schemas::{HostId, Timestamp};

use crate::state::State;
use crate::state::host::Host;
use crate::state::timers::Timer;

/// A host is offline after so many intervals without a heartbeat.
const MISSED_INTERVALS: i64 = 3;

impl Host {
    /// When this host counts as offline, if nothing is heard until then.
    fn silent_at(&self) -> Option<Timestamp> {
        let patience = i64::from(self.row.interval_ms) * MISSED_INTERVALS;
        self.heard.map(|heard| heard.plus_millis(patience))
    }
}

impl State {
    /// Notes that a host's agent was heard, or is expected to be from now on.
    pub(crate) fn hear(&mut self, now: Timestamp, id: &HostId) {
        let Some(host) = self.hosts.get_mut(id) else {
            return;
        };
        host.heard = Some(now);
        let Some(at) = host.silent_at() else { return };
        // A timer that comes too early finds that out by itself, so most heartbeats set none.
        if host.watched.is_none_or(|watched| at < watched) {
            self.watch(at, id);
        }
    }

    fn watch(&mut self, at: Timestamp, id: &HostId) {
        let Some(host) = self.hosts.get_mut(id) else {
            return;
        };
        if let Some(before) = host.watched.replace(at) {
            self.timers.remove(&(before, Timer::Liveness(id.clone())));
        }
        self.timers.insert((at, Timer::Liveness(id.clone())));
    }

    pub(crate) fn check_liveness(&mut self, now: Timestamp, id: &HostId) {
        let Some(host) = self.hosts.get_mut(id) else {
            return;
        };
        host.watched = None;
        match host.silent_at() {
            Some(at) if at > now => self.watch(at, id),
            Some(_) => {
                host.heard = None;
                let mut row = host.row.clone();
                row.status = HostStatus::Offline;
                self.put_host(row);
            }
            None => {}
        }
    }
}
