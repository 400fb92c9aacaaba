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
    /// Open operations need no action at the start: their rows are the outbox, and the next `Tick`
    /// sends the commands that are due.
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
        }
    }
}
