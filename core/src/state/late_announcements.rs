//! Host records to announce late: changed counters, and reports of an agent that change the host's
//! record again and again. Their announcements are collected for [`MAX_LATENESS_MS`].

use std::collections::BTreeSet;

use scuttle_schemas::{HostId, Timestamp};

/// The maximum time in milliseconds by which a host's announcement is late.
pub(crate) const MAX_LATENESS_MS: i64 = 1_000;

/// The hosts to announce, and the time at which the announcement is due.
#[derive(Debug, Default)]
pub(crate) struct LateAnnouncements {
    hosts: BTreeSet<HostId>,
    /// `None` if there are no hosts to announce.
    due_at: Option<Timestamp>,
}

impl LateAnnouncements {
    /// Adds a host, which is announced together with those that are already collected.
    pub(crate) fn add(&mut self, now: Timestamp, host: HostId) {
        self.hosts.insert(host);
        let latest = now.plus_millis(MAX_LATENESS_MS);
        self.due_at.get_or_insert(latest);
    }

    /// Removes a host, because it is announced now.
    pub(crate) fn remove(&mut self, host: &HostId) {
        self.hosts.remove(host);
    }

    pub(crate) fn due_at(&self) -> Option<Timestamp> {
        self.due_at
    }

    /// Removes and returns the collected hosts if their announcement is due.
    pub(crate) fn take_due(&mut self, now: Timestamp) -> BTreeSet<HostId> {
        match self.due_at {
            Some(at) if at <= now => {
                self.due_at = None;
                std::mem::take(&mut self.hosts)
            }
            _ => BTreeSet::new(),
        }
    }

    /// Caps the time of the announcement, because the clock may have been set back.
    pub(crate) fn limit_to(&mut self, now: Timestamp) {
        let latest = now.plus_millis(MAX_LATENESS_MS);
        self.due_at = self.due_at.map(|at| at.min(latest));
    }
}
