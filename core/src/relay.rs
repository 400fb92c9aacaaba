//! Broadcasts of the other partitions, where there are several: one count of revisions for all of them, given out here.

use scuttle_schemas::hosts::HostsUpdated;
use scuttle_schemas::operations::OperationsUpdated;
use scuttle_schemas::shards::ShardsUpdated;
use scuttle_schemas::{Partition, Timestamp};

use crate::state::State;
use crate::step::{Effect, Trace};

/// What the leader of another partition tells, with a revision of that partition's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Relayed {
    /// For `shards.updated`.
    Shards(ShardsUpdated),
    /// For `hosts.updated`.
    Hosts(HostsUpdated),
    /// For `operations.updated`.
    Operations(OperationsUpdated),
}

/// The revision under which a message is told on, where it is `told` under its partition's own; none if that was told before.
///
/// What did not come, a subscriber learns as always: from a jump. After a take-over nobody knows what came, so there is one, too.
fn next(count: &mut u64, known: &mut u64, told: u64, empty: bool) -> Option<u64> {
    if told <= *known {
        return None;
    }
    let missed = told > *known + 1 || empty;
    *known = told;
    *count += if missed { 2 } else { 1 };
    Some(*count)
}

impl State {
    /// Tells on what another partition told.
    pub(crate) fn relay(
        &mut self,
        now: Timestamp,
        from: Partition,
        told: Relayed,
        trace: Option<Trace>,
    ) {
        // The one that this batch has begun took its revision before.
        self.batch.end_message();
        let counts = &mut self.meta.revisions;
        let known = self.relayed.entry(from).or_default();
        let effect = match told {
            Relayed::Shards(mut message) => {
                let empty = message.updated.is_empty() && message.removed.is_empty();
                let own = message.revision;
                let Some(revision) = next(&mut counts.shards, &mut known.shards, own, empty) else {
                    return;
                };
                message.revision = revision;
                for shard in &mut message.updated {
                    shard.revision = revision;
                }
                for shard in &mut message.removed {
                    shard.revision = revision;
                }
                self.beacons.shards_told(now);
                Effect::ShardsUpdated(message, trace)
            }
            Relayed::Hosts(mut message) => {
                let (own, empty) = (message.revision, message.updated.is_empty());
                let Some(revision) = next(&mut counts.hosts, &mut known.hosts, own, empty) else {
                    return;
                };
                message.revision = revision;
                self.beacons.hosts_told(now);
                Effect::HostsUpdated(message)
            }
            Relayed::Operations(mut message) => {
                let (own, empty) = (message.revision, message.updated.is_empty());
                let known = &mut known.operations;
                let Some(revision) = next(&mut counts.operations, known, own, empty) else {
                    return;
                };
                message.revision = revision;
                self.beacons.operations_told(now);
                Effect::OperationsUpdated(message, trace)
            }
        };
        self.batch.effects.push(effect);
        self.batch.meta = true;
    }
}
