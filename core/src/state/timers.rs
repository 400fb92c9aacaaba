//! Timers: for operations and their commands, for liveness checks, and for the repeated revisions
//! of idle subjects.

use scuttle_schemas::{HostId, OperationId, Timestamp};

use crate::api::Topic;

/// The duration in milliseconds for which a broadcast subject is idle before its last revision is
/// repeated.
const IDLE_REPEAT_MS: i64 = 5_000;

/// An action that is due at a certain time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// The deadline of an operation, at which its agent needs no further command.
    Deadline(OperationId),
    /// The retry of an operation's command.
    Retry(OperationId),
    /// A full resend to a host, delayed because the previous full resend was too recent.
    FullResend(HostId),
    /// A check of whether heartbeats still arrive from a host.
    Liveness(HostId),
}

/// The time of the last message on each broadcast subject.
#[derive(Debug, Default)]
pub(crate) struct IdleRepeats {
    shards: Timestamp,
    hosts: Timestamp,
    operations: Timestamp,
}

impl IdleRepeats {
    /// Starts a new idle period on every subject.
    pub(crate) fn start(now: Timestamp) -> Self {
        Self {
            shards: now,
            hosts: now,
            operations: now,
        }
    }

    /// Restarts the idle period of a subject, because a message is published on it now.
    pub(crate) fn mark_published(&mut self, topic: Topic, now: Timestamp) {
        match topic {
            Topic::Shards => self.shards = now,
            Topic::Hosts => self.hosts = now,
            Topic::Operations => self.operations = now,
        }
    }

    /// Returns whether a subject has been idle long enough that its last revision must be repeated.
    pub(crate) fn is_due(&self, topic: Topic, now: Timestamp) -> bool {
        let published_at = match topic {
            Topic::Shards => self.shards,
            Topic::Hosts => self.hosts,
            Topic::Operations => self.operations,
        };
        published_at.plus_millis(IDLE_REPEAT_MS) <= now
    }

    /// Returns the time at which the next idle period ends.
    pub(crate) fn next_due_at(&self) -> Timestamp {
        let longest_idle = self.shards.min(self.hosts).min(self.operations);
        longest_idle.plus_millis(IDLE_REPEAT_MS)
    }

    /// Caps each time at `now`, because the clock may have been set back.
    pub(crate) fn limit_to(&mut self, now: Timestamp) {
        for published_at in [&mut self.shards, &mut self.hosts, &mut self.operations] {
            *published_at = now.min(*published_at);
        }
    }
}
