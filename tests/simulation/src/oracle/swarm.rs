//! The oracles of all partitions. Each oracle checks the hosts of its partition. This file checks
//! the messages of one partition about the hosts of another: lists, and relayed broadcasts, which
//! have other revisions.

use std::collections::BTreeMap;

use scuttle_core::{Effect, Reply};
use scuttle_schemas::shards::ShardRecord;
use scuttle_schemas::{HostId, OperationId, Partition, PartitionCount};

use crate::oracle::agent_history::AgentHistory;
use crate::oracle::broadcast::{Broadcast, decode_relayed, digest_without_revisions};
use crate::oracle::partition::PartitionOracle;
use crate::oracle::violation::{
    DURABLE_FIRST, GAPLESS_REVISIONS, OWN_HOST_ONLY, Violation, ensure,
};
use crate::state::controllers::requester::Requester;
use crate::state::counts::Counts;
use crate::state::partitioning::Partitioning;

/// The oracles of all partitions, and the facts that concern several partitions.
pub(crate) struct SwarmOracle {
    partitioning: Partitioning,
    partitions: Vec<PartitionOracle>,
    /// For each relayed message, the revision under which the first partition relayed it, and its
    /// revision in the partition that sent it. The key is the broadcast subject and the sending
    /// partition.
    relayed: BTreeMap<(usize, Partition), Vec<(u64, u64)>>,
    /// The history of each host's agents, by host index.
    agent_histories: Vec<AgentHistory>,
    /// The simulated time at which the swarm settled, or 0 if it has not settled.
    pub(crate) quiet_since: u64,
}

impl SwarmOracle {
    pub(crate) fn new(partitioning: Partitioning) -> Self {
        let new_oracle = |partition| PartitionOracle::new(partitioning, partition);
        Self {
            partitioning,
            partitions: partitioning.count.iter().map(new_oracle).collect(),
            relayed: BTreeMap::new(),
            agent_histories: Vec::new(),
            quiet_since: 0,
        }
    }

    pub(crate) fn for_controller(&mut self, controller: usize) -> &mut PartitionOracle {
        &mut self.partitions[self.partitioning.assignment(controller).partition.index()]
    }

    pub(crate) fn for_host(&self, host: &HostId) -> &PartitionOracle {
        &self.partitions[home_partition(self.partitioning.count, host).index()]
    }

    pub(crate) fn for_host_mut(&mut self, host: &HostId) -> &mut PartitionOracle {
        &mut self.partitions[home_partition(self.partitioning.count, host).index()]
    }

    /// Returns the history of a host's agents, which starts empty.
    pub(crate) fn agent_history(&mut self, host: usize) -> &mut AgentHistory {
        if self.agent_histories.len() <= host {
            self.agent_histories
                .resize_with(host + 1, AgentHistory::default);
        }
        &mut self.agent_histories[host]
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &PartitionOracle> {
        self.partitions.iter()
    }

    /// Returns the operations of all partitions that have not ended, according to the durable
    /// records.
    pub(crate) fn open_operations(&self) -> impl Iterator<Item = OperationId> {
        self.partitions
            .iter()
            .flat_map(PartitionOracle::open_operations)
    }

    /// Checks a reply that is being sent, including its shard records.
    pub(crate) fn check_reply(
        &mut self,
        controller: usize,
        requester: &Requester,
        reply: &Reply,
        counts: &mut Counts,
    ) -> Result<(), Violation> {
        if let Reply::Shards(list) = reply {
            let sender = self.partitioning.assignment(controller).partition;
            for record in &list.shards {
                self.check_record(sender, record, list.revision)?;
            }
        }
        if let Reply::Recorded(reply) = reply
            && reply.detail.is_some()
        {
            let id = requester.operation;
            let known = |oracle: &PartitionOracle| {
                let row = id.and_then(|id| oracle.record.operations.get(&id));
                row.is_some_and(|row| requester.subject.contains(row.host.as_str()))
            };
            ensure(!self.partitions.iter().any(known), DURABLE_FIRST, || {
                format!("the reply says that operation {id:?} is unknown, but it is on record")
            })?;
        }
        self.for_controller(controller)
            .check_reply(controller, requester, reply, counts)
    }

    /// Notes an effect of a batch that has just been committed. If the effect is a relayed
    /// broadcast, checks that the partition of its host has committed the same broadcast.
    pub(crate) fn check_committed(
        &mut self,
        controller: usize,
        effect: &Effect,
    ) -> Result<(), Violation> {
        let effect = &*decode_relayed(effect)?;
        let sender = self.partitioning.assignment(controller);
        if sender.is_one_of_several()
            && let Ok(Broadcast {
                subject,
                revision,
                host: Some(host),
                ..
            }) = Broadcast::from_effect(effect)
        {
            let home = home_partition(sender.partitions, host);
            let messages = &mut self.partitions[home.index()].broadcast_revisions[subject];
            let digest = digest_without_revisions(effect);
            if home == sender.partition {
                messages.entry(digest).or_insert(revision);
            } else if let Some(own) = messages.get(&digest) {
                let relayed = self.relayed.entry((subject, home)).or_default();
                relayed.push((revision, *own));
            } else {
                let details = format!("partition {home} never sent {effect:?}");
                return Err(Violation::new(DURABLE_FIRST, details));
            }
        }
        self.for_controller(controller).check_committed(effect)
    }

    /// Checks a list that was merged from pages with these revisions. The page of a partition must
    /// contain every change of the partition that was relayed before the first partition's page was
    /// read.
    pub(crate) fn check_gathered_list(
        &self,
        subject: usize,
        pages: &BTreeMap<Partition, u64>,
    ) -> Result<(), Violation> {
        let first = pages.get(&Partition::FIRST).copied().unwrap_or_default();
        for (partition, page) in pages {
            let relayed = self.relayed.get(&(subject, *partition));
            let relayed = relayed.into_iter().flatten();
            let relayed = relayed.filter(|(revision, _)| *revision <= first);
            let relayed = relayed.map(|(_, own)| *own).max().unwrap_or_default();
            ensure(relayed <= *page, GAPLESS_REVISIONS, || {
                format!(
                    "a list with revision {first} has partition {partition} as of revision {page}, but its revision {relayed} was relayed before"
                )
            })?;
        }
        Ok(())
    }

    /// Checks a command or a broadcast that is being sent, including its shard records.
    pub(crate) fn check_sent(
        &mut self,
        controller: usize,
        effect: &Effect,
    ) -> Result<(), Violation> {
        let effect = &*decode_relayed(effect)?;
        if let Effect::ShardsUpdated(message, _) = effect {
            let sender = self.partitioning.assignment(controller).partition;
            for record in &message.updated {
                self.check_record(sender, record, message.revision)?;
            }
            for shard in &message.removed {
                ensure(
                    shard.revision == message.revision,
                    GAPLESS_REVISIONS,
                    || format!("{shard:?} is sent under revision {}", message.revision),
                )?;
            }
        }
        self.for_controller(controller)
            .check_sent(controller, effect)
    }

    /// Checks a shard record that is being sent. A record of the sender's own partition must have
    /// been on disk with the same revision. Only the first partition may send a record of another
    /// partition. Such a record carries the revision of the message, and must have been on disk
    /// with any revision.
    fn check_record(
        &self,
        sender: Partition,
        record: &ShardRecord,
        revision: u64,
    ) -> Result<(), Violation> {
        let home = home_partition(self.partitioning.count, &record.host_uuid);
        let oracle = &self.partitions[home.index()];
        if home == sender {
            return oracle.check_record(record);
        }
        ensure(sender == Partition::FIRST, OWN_HOST_ONLY, || {
            format!("partition {sender} sends {record:?}")
        })?;
        ensure(record.revision == revision, GAPLESS_REVISIONS, || {
            format!("{record:?} is sent under revision {revision}")
        })?;
        oracle.check_relayed_record(record)
    }
}

/// Returns the partition that owns a host.
fn home_partition(partitions: PartitionCount, host: &HostId) -> Partition {
    if partitions == PartitionCount::ONE {
        Partition::FIRST
    } else {
        partitions.partition_of_host(host)
    }
}
