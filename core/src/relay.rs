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

#[cfg(test)]
mod tests {
    use scuttle_schemas::hosts::{HostsListRequest, HostsUpdated, HostsUpdatedType};
    use scuttle_schemas::operations::{OperationsUpdated, OperationsUpdatedType};
    use scuttle_schemas::shards::{ShardRecord, ShardsUpdated};
    use scuttle_schemas::{Partition, Partitions, Timestamp};

    use super::Relayed;
    use crate::change::Change;
    use crate::step::{Effect, Input};
    use crate::testing::Scenario;

    fn other(number: u8) -> Partition {
        let partitions = Partitions::new(3).expect("valid");
        partitions.numbered(number).expect("there are so many")
    }

    /// What another partition tells when its host `far` lists `a`, `b` and `c`, one after the other, and then loses `a`.
    fn told() -> Vec<ShardsUpdated> {
        let mut swarm = Scenario::new();
        swarm.enroll("worker-far", Some("far")).expect("new");
        let mut effects = Vec::new();
        let deckies: [&[&str]; 3] = [&["a"], &["a", "b"], &["a", "b", "c"]];
        for (sequence, listed) in (1..).zip(deckies) {
            effects.extend(swarm.heartbeat("far", (7, sequence), Some(listed)).1);
        }
        let (accepted, _) = swarm.teardown("far", Some("a")).expect("accepted");
        let id = accepted.operation_id;
        effects.extend(swarm.result("far", (7, 9), id, None, &[("a", None)]));
        let shards = effects.into_iter().filter_map(|effect| match effect {
            Effect::ShardsUpdated(message, _) => Some(message),
            _ => None,
        });
        let mut shards: Vec<_> = shards.collect();
        for (revision, message) in (1..).zip(&mut shards) {
            message.revision = revision;
        }
        shards
    }

    fn relay(swarm: &mut Scenario, from: Partition, message: &ShardsUpdated) -> Vec<ShardsUpdated> {
        let told = Relayed::Shards(message.clone());
        let trace = None;
        let effects = swarm.input(Input::Relay { from, told, trace }).1;
        let shards = effects.into_iter().map(|effect| match effect {
            Effect::ShardsUpdated(message, _) => message,
            other => panic!("{other:?}"),
        });
        shards.collect()
    }

    fn revisions(told: &[ShardsUpdated]) -> Vec<u64> {
        told.iter().map(|message| message.revision).collect()
    }

    fn empty(revision: u64) -> ShardsUpdated {
        let mut message = told().remove(0);
        message.revision = revision;
        message.updated.clear();
        message
    }

    #[test]
    fn what_comes_in_order_is_told_on_in_order() {
        let mut swarm = Scenario::new();
        let told = told();
        for (message, revision) in told.iter().zip(1..) {
            let on = relay(&mut swarm, other(1), message);
            assert_eq!(revisions(&on), [revision]);
            let shown = |shard: &ShardRecord| shard.revision == revision;
            assert!(on[0].updated.iter().all(shown), "{on:?}");
            assert!(on[0].removed.iter().all(|shard| shard.revision == revision));
            assert_eq!(on[0].updated.len(), message.updated.len());
            assert_eq!(on[0].removed.len(), message.removed.len());
        }
        assert_eq!(told.last().map(|message| message.removed.len()), Some(1));
    }

    #[test]
    fn what_did_not_come_is_a_jump() {
        let mut swarm = Scenario::new();
        let told = told();
        assert_eq!(revisions(&relay(&mut swarm, other(1), &told[0])), [1]);
        assert_eq!(revisions(&relay(&mut swarm, other(1), &told[3])), [3]);
        // It comes late, or again: what came since was told already.
        for late in [&told[1], &told[2], &told[3]] {
            assert_eq!(relay(&mut swarm, other(1), late), []);
        }
        assert_eq!(swarm.state.meta.revisions.shards, 3);
    }

    #[test]
    fn a_repeated_revision_tells_what_did_not_come() {
        let mut swarm = Scenario::new();
        let told = told();
        assert_eq!(relay(&mut swarm, other(1), &empty(0)), []);
        relay(&mut swarm, other(1), &told[0]);
        assert_eq!(relay(&mut swarm, other(1), &empty(1)), []);
        // The second did not come, and the third is told as always.
        assert_eq!(revisions(&relay(&mut swarm, other(1), &empty(2))), [3]);
        assert_eq!(relay(&mut swarm, other(1), &empty(2)), []);
        assert_eq!(revisions(&relay(&mut swarm, other(1), &told[2])), [4]);
    }

    #[test]
    fn each_partition_and_its_own_changes_have_one_count() {
        let mut swarm = Scenario::new();
        let told = told();
        assert_eq!(revisions(&relay(&mut swarm, other(1), &told[0])), [1]);
        assert_eq!(revisions(&relay(&mut swarm, other(2), &told[0])), [2]);
        swarm.enroll("worker-near", Some("near")).expect("new");
        swarm.heartbeat("near", (7, 1), Some(&["a"]));
        assert_eq!(swarm.shards("near")[0].revision, 3);
        assert_eq!(revisions(&relay(&mut swarm, other(1), &told[1])), [4]);
    }

    #[test]
    fn a_batch_keeps_its_own_and_the_others_messages_in_order() {
        let mut swarm = Scenario::new();
        swarm.enroll("worker-near", Some("near")).expect("new");
        swarm.heartbeat("near", (7, 1), Some(&["a"]));
        let (from, told) = (other(1), Relayed::Shards(told().remove(0)));
        let trace = None;
        let teardown = swarm.teardown_input("near", Some("a"));
        swarm.state.step(swarm.now, teardown);
        swarm
            .state
            .step(swarm.now, Input::Relay { from, told, trace });
        let effects = swarm.state.close(swarm.now).effects;
        let revisions = effects.iter().filter_map(|effect| match effect {
            Effect::ShardsUpdated(message, _) => Some(message.revision),
            _ => None,
        });
        assert_eq!(revisions.collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn a_take_over_gives_no_revision_again_and_tells_of_a_gap() {
        let mut swarm = Scenario::new();
        let told = told();
        relay(&mut swarm, other(1), &told[0]);
        relay(&mut swarm, other(1), &told[1]);
        let counted = swarm.journal.iter().rev().find_map(|change| match change {
            Change::Meta(meta) => Some(meta.revisions.shards),
            _ => None,
        });
        assert_eq!(counted, Some(2));
        swarm.crash();
        // Nobody knows whether the third was told before.
        assert_eq!(revisions(&relay(&mut swarm, other(1), &told[3])), [4]);
    }

    #[test]
    fn a_fenced_list_is_answered_after_an_append() {
        let mut swarm = Scenario::new();
        swarm.enroll("worker-near", Some("near")).expect("new");
        let list = || Input::HostsList(HostsListRequest::default());
        let before = swarm.journal.len();
        let (plain, _) = swarm.ask(list());
        assert_eq!(swarm.journal.len(), before);
        let (fenced, _) = swarm.ask(Input::Fenced(Box::new(list())));
        assert_eq!(swarm.journal.len(), before + 1);
        assert_eq!(fenced, plain);
    }

    #[test]
    fn hosts_and_operations_have_counts_of_their_own() {
        let mut swarm = Scenario::new();
        let at = Timestamp::from_millis(0);
        let (from, trace) = (other(1), None);
        let told = Relayed::Hosts(HostsUpdated {
            kind: HostsUpdatedType,
            revision: 7,
            at,
            updated: Vec::new(),
        });
        swarm.input(Input::Relay { from, told, trace });
        let (from, trace) = (other(1), None);
        let told = Relayed::Operations(OperationsUpdated {
            kind: OperationsUpdatedType,
            revision: 5,
            at,
            updated: Vec::new(),
        });
        swarm.input(Input::Relay { from, told, trace });
        let revisions = swarm.state.meta.revisions;
        assert_eq!((revisions.shards, revisions.hosts), (0, 2));
        assert_eq!(revisions.operations, 2);
    }
}
