//! Idle.

use scuttle_schemas::Timestamp;
use scuttle_schemas::hosts::{HostsUpdated, HostsUpdatedType};
use scuttle_schemas::operations::{OperationsUpdated, OperationsUpdatedType};
use scuttle_schemas::shards::{ShardsUpdated, ShardsUpdatedType};

use crate::api::Effect;
use crate::state::State;
use crate::state::timers::BEACON_MS;

impl State {
    pub(crate) fn repeat_revisions(&mut self, now: Timestamp) {
        let due = |told: Timestamp| told.plus_millis(BEACON_MS) <= now;
        let revisions = self.meta.revisions;
        if due(self.beacons.shards) {
            let message = ShardsUpdated {
                kind: ShardsUpdatedType,
                revision: revisions.shards,
                at: now,
                operation_id: None,
                updated: Vec::new(),
                removed: Vec::new(),
            };
            self.batch
                .effects
                .push(Effect::ShardsUpdated(message, None));
            self.beacons.shards_told(now);
        }
        if due(self.beacons.hosts) {
            let (kind, revision) = (HostsUpdatedType, revisions.hosts);
            let message = HostsUpdated {
                kind,
                revision,
                at: now,
                updated: Vec::new(),
            };
            self.batch.effects.push(Effect::HostsUpdated(message));
            self.beacons.hosts_told(now);
        }
        if due(self.beacons.operations) {
            let (kind, revision) = (OperationsUpdatedType, revisions.operations);
            let message = OperationsUpdated {
                kind,
                revision,
                at: now,
                updated: Vec::new(),
            };
            self.batch
                .effects
                .push(Effect::OperationsUpdated(message, None));
            self.beacons.operations_told(now);
        }
    }
}
