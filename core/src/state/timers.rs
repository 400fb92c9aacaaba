//! Timers.

use scuttle_schemas::{HostId, OperationId, Timestamp};

/// A broadcast subject that was silent for so long repeats its last revision, in milliseconds.
pub(crate) const BEACON_MS: i64 = 5_000;

/// What waits for a time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// An open operation's next attempt or deadline.
    Operation(OperationId),
    /// A host whose heartbeats are expected.
    Liveness(HostId),
}

/// When each broadcast subject last had a message.
#[derive(Debug, Default)]
pub(crate) struct Beacons {
    pub(crate) shards: Timestamp,
    pub(crate) hosts: Timestamp,
    pub(crate) operations: Timestamp,
}

impl Beacons {
    pub(crate) fn shards_told(&mut self, now: Timestamp) {
        self.shards = now;
    }

    pub(crate) fn hosts_told(&mut self, now: Timestamp) {
        self.hosts = now;
    }

    pub(crate) fn operations_told(&mut self, now: Timestamp) {
        self.operations = now;
    }

    /// The clock shows less than it did.
    pub(crate) fn set_back(&mut self, now: Timestamp) {
        for told in [&mut self.shards, &mut self.hosts, &mut self.operations] {
            *told = now.min(*told);
        }
    }

    pub(crate) fn next(&self) -> Timestamp {
        self.shards
            .min(self.hosts)
            .min(self.operations)
            .plus_millis(BEACON_MS)
    }
}
