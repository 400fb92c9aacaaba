//! Idle repeats: a broadcast subject without changes repeats its last revision, so that a
//! subscriber notices if it has missed the last message.

use scuttle_schemas::Timestamp;
use scuttle_schemas::hosts::{HostsUpdated, HostsUpdatedType};
use scuttle_schemas::operations::{OperationsUpdated, OperationsUpdatedType};
use scuttle_schemas::shards::{ShardsUpdated, ShardsUpdatedType};

use crate::api::{Effect, Topic};
use crate::state::State;

impl State {
    /// Publishes an empty message with the last revision on every broadcast subject that has been
    /// idle for `IDLE_REPEAT_MS`.
    pub(crate) fn repeat_idle_revisions(&mut self, now: Timestamp) {
        let revisions = self.meta.revisions;
        if self.idle_repeats.is_due(Topic::Shards, now) {
            let message = ShardsUpdated {
                kind: ShardsUpdatedType,
                revision: revisions.shards,
                at: now,
                operation_id: None,
                updated: Vec::new(),
                removed: Vec::new(),
            };
            let effect = Effect::ShardsUpdated(message, None);
            self.batch.effects.push(effect);
            self.idle_repeats.mark_published(Topic::Shards, now);
        }
        if self.idle_repeats.is_due(Topic::Hosts, now) {
            let message = HostsUpdated {
                kind: HostsUpdatedType,
                revision: revisions.hosts,
                at: now,
                updated: Vec::new(),
            };
            self.batch.effects.push(Effect::HostsUpdated(message));
            self.idle_repeats.mark_published(Topic::Hosts, now);
        }
        if self.idle_repeats.is_due(Topic::Operations, now) {
            let message = OperationsUpdated {
                kind: OperationsUpdatedType,
                revision: revisions.operations,
                at: now,
                updated: Vec::new(),
            };
            let effect = Effect::OperationsUpdated(message, None);
            self.batch.effects.push(effect);
            self.idle_repeats.mark_published(Topic::Operations, now);
        }
    }
}
