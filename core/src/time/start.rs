//! Start.

use scuttle_schemas::hosts::HostStatus;
use scuttle_schemas::{HostId, Timestamp};

use crate::state::State;
use crate::state::stats::EventCounts;
use crate::state::timers::Beacons;

impl State {
    /// The first step of a process: a new epoch, and patience anew with every host that was online.
    /// Open operations need nothing: they are the outbox, and `Tick` sends what is due.
    pub(crate) fn start(&mut self, now: Timestamp) {
        let millis = u64::try_from(now.as_millis()).unwrap_or(0);
        self.meta.epoch = millis.max(self.meta.epoch + 1);
        self.batch.meta = true;
        self.beacons = Beacons {
            shards: now,
            hosts: now,
            operations: now,
        };
        // What the replay came by happened to the process before.
        self.stats.events = EventCounts::default();
        let online: Vec<HostId> = (self.hosts.values())
            .filter(|host| host.row.status == HostStatus::Online)
            .map(|host| host.row.host.clone())
            .collect();
        for host in online {
            self.hear(now, &host);
        }
    }
}
