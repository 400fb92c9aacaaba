//! The start of a process, or its takeover as the leader.

use scuttle_schemas::hosts::HostStatus;
use scuttle_schemas::{HostId, Timestamp};

use crate::state::State;
use crate::state::stats::EventCounts;
use crate::state::timers::IdleRepeats;

impl State {
    /// Starts a new epoch, resets the event counts, and restarts the offline timeout of every
    /// online host.
    ///
    /// The commands of these hosts are sent again, because earlier processes kept the
    /// acknowledgements only in memory. Other hosts get their commands when they return. All hosts
    /// are announced, because an earlier process may have ended before a late announcement.
    pub(crate) fn start(&mut self, now: Timestamp) {
        let now_ms = u64::try_from(now.as_millis()).unwrap_or(0);
        self.meta.epoch = now_ms.max(self.meta.epoch + 1);
        self.batch.meta_changed = true;
        self.idle_repeats = IdleRepeats::start(now);
        // The replay has counted the events of earlier processes.
        self.stats.events = EventCounts::default();
        let online: Vec<HostId> = (self.hosts.values())
            .filter(|host| host.row.status == HostStatus::Online)
            .map(|host| host.row.host.clone())
            .collect();
        for host in online {
            self.record_heard(now, &host);
            self.resend_at_start(now, &host);
        }
        let active = self.hosts.values().filter(|host| host.is_active());
        let active: Vec<HostId> = active.map(|host| host.row.host.clone()).collect();
        for host in active {
            self.late_announcements.add(now, host);
        }
    }
}
