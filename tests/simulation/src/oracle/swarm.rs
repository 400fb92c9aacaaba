//! The oracles of all partitions. Each judges its own hosts. This file checks what one partition says about the hosts of
//! another: in lists, and in broadcasts that it relays under its own revisions.

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

/// All of them.
pub(crate) struct SwarmOracle {
    partitioning: Partitioning,
    partitions: Vec<PartitionOracle>,
    /// By broadcast subject and partition: the first's revisions under which its messages were told on, and their own.
    relayed: BTreeMap<(usize, Partition), Vec<(u64, u64)>>,
    /// Since when all is quiet.
    /// By host index.
    agent_histories: Vec<AgentHistory>,
    pub(crate) quiet_since: u64,
}

impl SwarmOracle {
    pub(crate) fn new(partitioning: Partitioning) -> Self {
        let one = |partition| PartitionOracle::new(partitioning, partition);
        Self {
            partitioning,
            partitions: partitioning.count.iter().map(one).collect(),
            relayed: BTreeMap::new(),
            agent_histories: Vec::new(),
            quiet_since: 0,
        }
    }

    /// That of a controller's partition.
    pub(crate) fn for_controller(&mut self, controller: usize) -> &mut PartitionOracle {
        &mut self.partitions[self.partitioning.assignment(controller).partition.index()]
    }

    /// That of a host's partition.
    pub(crate) fn for_host(&self, host: &HostId) -> &PartitionOracle {
        &self.partitions[home_partition(self.partitioning.count, host).index()]
    }

    /// The same, to tell it something.
    pub(crate) fn for_host_mut(&mut self, host: &HostId) -> &mut PartitionOracle {
        &mut self.partitions[home_partition(self.partitioning.count, host).index()]
    }

    /// The history of a host's agents, across their restarts.
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

    /// The operations that have not ended, as far as the disks tell.
    pub(crate) fn open_operations(&self) -> impl Iterator<Item = OperationId> {
        self.partitions
            .iter()
            .flat_map(PartitionOracle::open_operations)
    }

    /// An reply leaves.
    pub(crate) fn check_reply(
        &mut self,
        controller: usize,
        requester: &Requester,
        reply: &Reply,
        counts: &mut Counts,
    ) -> Result<(), Violation> {
        if let Reply::Shards(list) = reply {
            let by = self.partitioning.assignment(controller).partition;
            for record in &list.shards {
                self.check_record(by, record, list.revision)?;
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
                format!("{id:?} is told unknown, and is not")
            })?;
        }
        self.for_controller(controller)
            .check_reply(controller, requester, reply, counts)
    }

    /// A batch has become durable, and this is to be told of it.
    pub(crate) fn check_committed(
        &mut self,
        controller: usize,
        effect: &Effect,
    ) -> Result<(), Violation> {
        let effect = &*decode_relayed(effect)?;
        let by = self.partitioning.assignment(controller);
        if by.is_one_of_several()
            && let Ok(Broadcast {
                subject,
                revision,
                host: Some(host),
                ..
            }) = Broadcast::from_effect(effect)
        {
            let home = home_partition(by.of, host);
            let messages = &mut self.partitions[home.index()].broadcast_revisions[subject];
            let digest = digest_without_revisions(effect);
            if home == by.partition {
                messages.entry(digest).or_insert(revision);
            } else if let Some(own) = messages.get(&digest) {
                let relayed = self.relayed.entry((subject, home)).or_default();
                relayed.push((revision, *own));
            } else {
                let what = format!("partition {home} never told {effect:?}");
                return Err(Violation::new(DURABLE_FIRST, what));
            }
        }
        self.for_controller(controller).check_committed(effect)
    }

    /// A list is made of these partitions' pages, by their revisions: what was told before the first's must be in the others'.
    pub(crate) fn check_gathered_list(
        &self,
        subject: usize,
        pages: &BTreeMap<Partition, u64>,
    ) -> Result<(), Violation> {
        let first = pages.get(&Partition::FIRST).copied().unwrap_or_default();
        for (partition, page) in pages {
            let relayed = self.relayed.get(&(subject, *partition));
            let told = relayed.into_iter().flatten();
            let told = told.filter(|(revision, _)| *revision <= first);
            let told = told.map(|(_, own)| *own).max().unwrap_or_default();
            ensure(told <= *page, GAPLESS_REVISIONS, || {
                format!(
                    "a list under revision {first} has partition {partition} as of {page}, of which {told} was told before"
                )
            })?;
        }
        Ok(())
    }

    /// A command or a broadcast leaves.
    pub(crate) fn check_sent(
        &mut self,
        controller: usize,
        effect: &Effect,
    ) -> Result<(), Violation> {
        let effect = &*decode_relayed(effect)?;
        if let Effect::ShardsUpdated(message, _) = effect {
            let by = self.partitioning.assignment(controller).partition;
            for record in &message.updated {
                self.check_record(by, record, message.revision)?;
            }
            for shard in &message.removed {
                ensure(
                    shard.revision == message.revision,
                    GAPLESS_REVISIONS,
                    || format!("{shard:?} is told under revision {}", message.revision),
                )?;
            }
        }
        self.for_controller(controller)
            .check_sent(controller, effect)
    }

    /// A shard's record leaves: it is one that was on disk under its revision, or, if it is another partition's, under any.
    pub(crate) fn check_record(
        &self,
        by: Partition,
        record: &ShardRecord,
        revision: u64,
    ) -> Result<(), Violation> {
        let home = home_partition(self.partitioning.count, &record.host_uuid);
        let oracle = &self.partitions[home.index()];
        if home == by {
            return oracle.check_record(record);
        }
        ensure(by == Partition::FIRST, OWN_HOST_ONLY, || {
            format!("partition {by} tells of {record:?}")
        })?;
        ensure(record.revision == revision, GAPLESS_REVISIONS, || {
            format!("{record:?} is told under revision {revision}")
        })?;
        oracle.check_relayed_record(record)
    }
}

/// Where a host's record is.
fn home_partition(of: PartitionCount, host: &HostId) -> Partition {
    if of == PartitionCount::ONE {
        Partition::FIRST
    } else {
        of.partition_of_host(host)
    }
}
