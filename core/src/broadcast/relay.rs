//! The relay. If there are several partitions, the first partition publishes the broadcasts of all
//! partitions. It assigns them revisions from a single sequence.
//!
//! The core does not interpret the messages. The controller's `relay_format` encodes a message at
//! its sender, and replaces the revision when the message is published.

use scuttle_schemas::{Partition, Timestamp};

use crate::api::{Effect, RelayedBroadcast, Topic};
use crate::record::rows::Trace;
use crate::state::State;

impl State {
    /// Publishes a broadcast of another partition with the next revision. Ignores a broadcast if
    /// this one or a later one was already relayed.
    pub(crate) fn relay(
        &mut self,
        now: Timestamp,
        from: Partition,
        broadcast: RelayedBroadcast,
        trace: Option<Trace>,
    ) {
        // The open message of this batch already has a revision, so it must be sent first.
        self.batch.close_message();
        let assigned = &mut self.meta.revisions;
        let relayed = self.relayed_revisions.entry(from).or_default();
        let (assigned, relayed) = match broadcast.topic {
            Topic::Shards => (&mut assigned.shards, &mut relayed.shards),
            Topic::Hosts => (&mut assigned.hosts, &mut relayed.hosts),
            Topic::Operations => (&mut assigned.operations, &mut relayed.operations),
        };
        let Some(revision) = assign_revision(assigned, relayed, &broadcast) else {
            return;
        };
        self.idle_repeats.mark_published(broadcast.topic, now);
        let effect = Effect::Relayed {
            revision,
            broadcast,
            trace,
        };
        self.batch.effects.push(effect);
        self.batch.meta_changed = true;
    }
}

/// Assigns the next revision to a broadcast. Returns `None` if this broadcast, or a later one of
/// the same partition and subject, was already relayed.
///
/// If a broadcast of the other partition was missed, the revision increases by two, so that
/// subscribers detect the gap. The revision also increases by two after a takeover, because the new
/// leader does not know which broadcasts were relayed before.
fn assign_revision(
    last_assigned: &mut u64,
    last_relayed: &mut u64,
    broadcast: &RelayedBroadcast,
) -> Option<u64> {
    if broadcast.revision <= *last_relayed {
        return None;
    }
    let has_gap = broadcast.revision > *last_relayed + 1 || broadcast.is_repeat;
    *last_relayed = broadcast.revision;
    *last_assigned += if has_gap { 2 } else { 1 };
    Some(*last_assigned)
}

#[cfg(test)]
mod tests {
    use scuttle_schemas::hosts::HostsListRequest;
    use scuttle_schemas::{Partition, PartitionCount};

    use crate::api::{Effect, Input, RelayedBroadcast, Topic};
    use crate::record::change::Change;
    use crate::tests::scenario::{Scenario, report};

    fn other_partition(number: u8) -> Partition {
        let count = PartitionCount::new(3).expect("valid");
        count.partition(number).expect("less than 3")
    }

    fn relay_input(from: Partition, topic: Topic, revision: u64, is_repeat: bool) -> Input {
        Input::Relay {
            from,
            broadcast: RelayedBroadcast {
                topic,
                revision,
                is_repeat,
                message: [].into(),
            },
            trace: None,
        }
    }

    /// Relays a `shards.updated` message. Returns the revisions of the broadcasts that are
    /// published.
    fn relay(swarm: &mut Scenario, from: Partition, revision: u64) -> Vec<u64> {
        let input = relay_input(from, Topic::Shards, revision, false);
        shard_revisions(swarm.apply(input).1)
    }

    /// Relays the idle repeat of a `shards.updated` revision. Returns the revisions of the
    /// broadcasts that are published.
    fn relay_repeat(swarm: &mut Scenario, from: Partition, revision: u64) -> Vec<u64> {
        let input = relay_input(from, Topic::Shards, revision, true);
        shard_revisions(swarm.apply(input).1)
    }

    fn shard_revisions(effects: Vec<Effect>) -> Vec<u64> {
        let revisions = effects.into_iter().filter_map(|effect| match effect {
            Effect::Relayed { revision, .. } => Some(revision),
            Effect::ShardsUpdated(message, _) => Some(message.revision),
            _ => None,
        });
        revisions.collect()
    }

    #[test]
    fn broadcasts_that_arrive_in_order_are_relayed_in_order() {
        let mut swarm = Scenario::new();
        for revision in 1..5 {
            assert_eq!(relay(&mut swarm, other_partition(1), revision), [revision]);
        }
    }

    #[test]
    fn a_missed_broadcast_makes_the_revision_jump() {
        let mut swarm = Scenario::new();
        assert_eq!(relay(&mut swarm, other_partition(1), 1), [1]);
        assert_eq!(relay(&mut swarm, other_partition(1), 4), [3]);
        // These arrive late or twice: later ones were already relayed.
        for late in [2, 3, 4] {
            assert_eq!(relay(&mut swarm, other_partition(1), late), [0; 0]);
        }
        assert_eq!(swarm.state.meta.revisions.shards, 3);
    }

    #[test]
    fn a_repeated_revision_reveals_a_missed_broadcast() {
        let mut swarm = Scenario::new();
        assert_eq!(relay_repeat(&mut swarm, other_partition(1), 0), [0; 0]);
        relay(&mut swarm, other_partition(1), 1);
        assert_eq!(relay_repeat(&mut swarm, other_partition(1), 1), [0; 0]);
        // Broadcast 2 did not arrive, but its repeat does. Broadcast 3 is relayed as usual.
        assert_eq!(relay_repeat(&mut swarm, other_partition(1), 2), [3]);
        assert_eq!(relay_repeat(&mut swarm, other_partition(1), 2), [0; 0]);
        assert_eq!(relay(&mut swarm, other_partition(1), 3), [4]);
    }

    #[test]
    fn all_partitions_share_one_sequence_of_revisions() {
        let mut swarm = Scenario::new();
        assert_eq!(relay(&mut swarm, other_partition(1), 1), [1]);
        assert_eq!(relay(&mut swarm, other_partition(2), 1), [2]);
        swarm.enroll("worker-near", Some("near")).expect("new");
        swarm.heartbeat("near", report(7, 1), Some(&["a"]));
        assert_eq!(swarm.shards("near")[0].revision, 3);
        assert_eq!(relay(&mut swarm, other_partition(1), 2), [4]);
    }

    #[test]
    fn a_batch_sends_its_own_and_relayed_messages_in_the_order_of_revisions() {
        let mut swarm = Scenario::new();
        swarm.enroll("worker-near", Some("near")).expect("new");
        swarm.heartbeat("near", report(7, 1), Some(&["a"]));
        let teardown = swarm.teardown_input("near", Some("a"));
        swarm.state.step(swarm.now, teardown);
        let relayed = relay_input(other_partition(1), Topic::Shards, 1, false);
        swarm.state.step(swarm.now, relayed);
        let effects = swarm.state.close(swarm.now).effects;
        assert_eq!(shard_revisions(effects), [2, 3]);
    }

    #[test]
    fn a_takeover_reuses_no_revision_and_leaves_a_gap() {
        let mut swarm = Scenario::new();
        relay(&mut swarm, other_partition(1), 1);
        relay(&mut swarm, other_partition(1), 2);
        let stored = swarm.journal.iter().rev().find_map(|change| match change {
            Change::Meta(meta) => Some(meta.revisions.shards),
            _ => None,
        });
        assert_eq!(stored, Some(2));
        swarm.crash_and_restart();
        // The new leader does not know whether broadcast 3 was relayed.
        assert_eq!(relay(&mut swarm, other_partition(1), 4), [4]);
    }

    #[test]
    fn a_linearizable_list_request_forces_an_append() {
        let mut swarm = Scenario::new();
        swarm.enroll("worker-near", Some("near")).expect("new");
        let list = || Input::HostsList(HostsListRequest::default());
        let before = swarm.journal.len();
        let (plain, _) = swarm.request(list());
        assert_eq!(swarm.journal.len(), before);
        let (linearizable, _) = swarm.request(Input::Linearizable(Box::new(list())));
        assert_eq!(swarm.journal.len(), before + 1);
        assert_eq!(linearizable, plain);
    }

    #[test]
    fn each_subject_has_its_own_revisions() {
        let mut swarm = Scenario::new();
        let from = other_partition(1);
        swarm.apply(relay_input(from, Topic::Hosts, 7, true));
        swarm.apply(relay_input(from, Topic::Operations, 5, true));
        let revisions = swarm.state.meta.revisions;
        assert_eq!((revisions.shards, revisions.hosts), (0, 2));
        assert_eq!(revisions.operations, 2);
    }
}
