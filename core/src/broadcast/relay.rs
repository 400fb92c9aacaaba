//! Broadcasts of the other partitions, where there are several: one count of revisions for all of them, given out here. What they
//! tell is not looked into: whoever tells it writes it as it is to be told, and whoever sends it puts the revision there.

use scuttle_schemas::{Partition, Timestamp};

use crate::api::{Effect, RelayedBroadcast, Topic};
use crate::record::rows::Trace;
use crate::state::State;

/// The revision under which a message is told on, where it is `told` under its partition's own; none if that was told before.
///
/// What did not come, a subscriber learns as always: from a jump. After a take-over nobody knows what came, so there is one, too.
fn next(count: &mut u64, known: &mut u64, told: u64, repeats: bool) -> Option<u64> {
    if told <= *known {
        return None;
    }
    let missed = told > *known + 1 || repeats;
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
        broadcast: RelayedBroadcast,
        trace: Option<Trace>,
    ) {
        // The one that this batch has begun took its revision before.
        self.batch.end_message();
        let counts = &mut self.meta.revisions;
        let known = self.relayed.entry(from).or_default();
        let (count, known) = match broadcast.topic {
            Topic::Shards => (&mut counts.shards, &mut known.shards),
            Topic::Hosts => (&mut counts.hosts, &mut known.hosts),
            Topic::Operations => (&mut counts.operations, &mut known.operations),
        };
        let Some(revision) = next(count, known, broadcast.revision, broadcast.is_repeat) else {
            return;
        };
        match broadcast.topic {
            Topic::Shards => self.beacons.shards_told(now),
            Topic::Hosts => self.beacons.hosts_told(now),
            Topic::Operations => self.beacons.operations_told(now),
        }
        let effect = Effect::Relayed {
            revision,
            broadcast,
            trace,
        };
        self.batch.effects.push(effect);
        self.batch.meta = true;
    }
}

#[cfg(test)]
mod tests {
    use scuttle_schemas::hosts::HostsListRequest;
    use scuttle_schemas::{Partition, PartitionCount};

    use super::{RelayedBroadcast, Topic};
    use crate::api::{Effect, Input};
    use crate::record::change::Change;
    use crate::tests::scenario::Scenario;

    fn other(number: u8) -> Partition {
        let partitions = PartitionCount::new(3).expect("valid");
        partitions.partition(number).expect("there are so many")
    }

    fn input(from: Partition, topic: Topic, revision: u64, is_repeat: bool) -> Input {
        let broadcast = RelayedBroadcast {
            topic,
            revision,
            is_repeat,
            message: [].into(),
        };
        Input::Relay {
            from,
            broadcast,
            trace: None,
        }
    }

    /// The revisions under which what another partition tells of shards is told on.
    fn relay(swarm: &mut Scenario, from: Partition, revision: u64) -> Vec<u64> {
        revisions(swarm.input(input(from, Topic::Shards, revision, false)).1)
    }

    fn repeat(swarm: &mut Scenario, from: Partition, revision: u64) -> Vec<u64> {
        revisions(swarm.input(input(from, Topic::Shards, revision, true)).1)
    }

    fn revisions(effects: Vec<Effect>) -> Vec<u64> {
        let revisions = effects.into_iter().filter_map(|effect| match effect {
            Effect::Relayed { revision, .. } => Some(revision),
            Effect::ShardsUpdated(message, _) => Some(message.revision),
            _ => None,
        });
        revisions.collect()
    }

    #[test]
    fn what_comes_in_order_is_told_on_in_order() {
        let mut swarm = Scenario::new();
        for revision in 1..5 {
            assert_eq!(relay(&mut swarm, other(1), revision), [revision]);
        }
    }

    #[test]
    fn what_did_not_come_is_a_jump() {
        let mut swarm = Scenario::new();
        assert_eq!(relay(&mut swarm, other(1), 1), [1]);
        assert_eq!(relay(&mut swarm, other(1), 4), [3]);
        // It comes late, or again: what came since was told already.
        for late in [2, 3, 4] {
            assert_eq!(relay(&mut swarm, other(1), late), [0; 0]);
        }
        assert_eq!(swarm.state.meta.revisions.shards, 3);
    }

    #[test]
    fn a_repeated_revision_tells_what_did_not_come() {
        let mut swarm = Scenario::new();
        assert_eq!(repeat(&mut swarm, other(1), 0), [0; 0]);
        relay(&mut swarm, other(1), 1);
        assert_eq!(repeat(&mut swarm, other(1), 1), [0; 0]);
        // The second did not come, and the third is told as always.
        assert_eq!(repeat(&mut swarm, other(1), 2), [3]);
        assert_eq!(repeat(&mut swarm, other(1), 2), [0; 0]);
        assert_eq!(relay(&mut swarm, other(1), 3), [4]);
    }

    #[test]
    fn each_partition_and_its_own_changes_have_one_count() {
        let mut swarm = Scenario::new();
        assert_eq!(relay(&mut swarm, other(1), 1), [1]);
        assert_eq!(relay(&mut swarm, other(2), 1), [2]);
        swarm.enroll("worker-near", Some("near")).expect("new");
        swarm.heartbeat("near", (7, 1), Some(&["a"]));
        assert_eq!(swarm.shards("near")[0].revision, 3);
        assert_eq!(relay(&mut swarm, other(1), 2), [4]);
    }

    #[test]
    fn a_batch_keeps_its_own_and_the_others_messages_in_order() {
        let mut swarm = Scenario::new();
        swarm.enroll("worker-near", Some("near")).expect("new");
        swarm.heartbeat("near", (7, 1), Some(&["a"]));
        let teardown = swarm.teardown_input("near", Some("a"));
        swarm.state.step(swarm.now, teardown);
        let told = input(other(1), Topic::Shards, 1, false);
        swarm.state.step(swarm.now, told);
        let effects = swarm.state.close(swarm.now).effects;
        assert_eq!(revisions(effects), [2, 3]);
    }

    #[test]
    fn a_take_over_gives_no_revision_again_and_tells_of_a_gap() {
        let mut swarm = Scenario::new();
        relay(&mut swarm, other(1), 1);
        relay(&mut swarm, other(1), 2);
        let counted = swarm.journal.iter().rev().find_map(|change| match change {
            Change::Meta(meta) => Some(meta.revisions.shards),
            _ => None,
        });
        assert_eq!(counted, Some(2));
        swarm.crash();
        // Nobody knows whether the third was told before.
        assert_eq!(relay(&mut swarm, other(1), 4), [4]);
    }

    #[test]
    fn a_fenced_list_is_answered_after_an_append() {
        let mut swarm = Scenario::new();
        swarm.enroll("worker-near", Some("near")).expect("new");
        let list = || Input::HostsList(HostsListRequest::default());
        let before = swarm.journal.len();
        let (plain, _) = swarm.ask(list());
        assert_eq!(swarm.journal.len(), before);
        let (fenced, _) = swarm.ask(Input::Linearizable(Box::new(list())));
        assert_eq!(swarm.journal.len(), before + 1);
        assert_eq!(fenced, plain);
    }

    #[test]
    fn hosts_and_operations_have_counts_of_their_own() {
        let mut swarm = Scenario::new();
        swarm.input(input(other(1), Topic::Hosts, 7, true));
        swarm.input(input(other(1), Topic::Operations, 5, true));
        let revisions = swarm.state.meta.revisions;
        assert_eq!((revisions.shards, revisions.hosts), (0, 2));
        assert_eq!(revisions.operations, 2);
    }
}
