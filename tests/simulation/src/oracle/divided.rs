//! The oracles of all partitions. Each judges what is of its own hosts; here is what one partition says of another's: lists, and
//! broadcasts that it tells on under revisions of its own.

use std::borrow::Cow;
use std::collections::BTreeMap;

use scuttle_controller::partition::relay_format;
use scuttle_core::{Effect, Reply, Topic};
use scuttle_schemas::shards::ShardRecord;
use scuttle_schemas::{HostId, OperationId, Partition, Partitions};

use super::rules::digest_of_record;
use super::told::Broadcast;
use super::{Broken, DURABLE, OTHERS, Oracle, REVISIONS, ensure};
use crate::divided::Divided;
use crate::term::Asker;
use crate::world::Counts;

/// All of them.
pub(crate) struct Oracles {
    divided: Divided,
    all: Vec<Oracle>,
    /// By broadcast subject and partition: the first's revisions under which its messages were told on, and their own.
    relayed: BTreeMap<(usize, Partition), Vec<(u64, u64)>>,
    /// Since when all is quiet.
    pub(super) since: u64,
}

impl Oracles {
    pub(crate) fn of(divided: Divided) -> Self {
        let one = |partition| Oracle::of(divided, partition);
        Self {
            divided,
            all: divided.of.all().map(one).collect(),
            relayed: BTreeMap::new(),
            since: 0,
        }
    }

    /// That of a controller's partition.
    pub(crate) fn of_controller(&mut self, controller: usize) -> &mut Oracle {
        &mut self.all[self.divided.portion(controller).partition.index()]
    }

    /// That of a host's partition.
    pub(crate) fn of_host(&self, host: &HostId) -> &Oracle {
        &self.all[home(self.divided.of, host).index()]
    }

    /// The same, to tell it something.
    pub(crate) fn of_host_mut(&mut self, host: &HostId) -> &mut Oracle {
        &mut self.all[home(self.divided.of, host).index()]
    }

    pub(super) fn each(&self) -> impl Iterator<Item = &Oracle> {
        self.all.iter()
    }

    /// The operations that have not ended, as far as the disks tell.
    pub(crate) fn open(&self) -> impl Iterator<Item = OperationId> {
        self.all.iter().flat_map(Oracle::open)
    }

    /// An answer leaves.
    pub(crate) fn answered(
        &mut self,
        controller: usize,
        asker: &Asker,
        reply: &Reply,
        counts: &mut Counts,
    ) -> Result<(), Broken> {
        if let Reply::Shards(list) = reply {
            let by = self.divided.portion(controller).partition;
            for record in &list.shards {
                self.shown(by, record, list.revision)?;
            }
        }
        if let Reply::Recorded(answer) = reply
            && answer.detail.is_some()
        {
            let id = asker.operation;
            let known = |oracle: &Oracle| {
                let row = id.and_then(|id| oracle.rows.operations.get(&id));
                row.is_some_and(|row| asker.subject.contains(row.host.as_str()))
            };
            ensure(!self.all.iter().any(known), DURABLE, || {
                format!("{id:?} is told unknown, and is not")
            })?;
        }
        self.of_controller(controller)
            .answered(controller, asker, reply, counts)
    }

    /// A batch has become durable, and this is to be told of it.
    pub(crate) fn decided(&mut self, controller: usize, effect: &Effect) -> Result<(), Broken> {
        let effect = &*read(effect)?;
        let by = self.divided.portion(controller);
        if by.is_one_of_several()
            && let Ok(Broadcast {
                subject,
                revision,
                host: Some(host),
                ..
            }) = Broadcast::of(effect)
        {
            let home = home(by.of, host);
            let messages = &mut self.all[home.index()].messages[subject];
            let digest = unnumbered(effect);
            if home == by.partition {
                messages.entry(digest).or_insert(revision);
            } else if let Some(own) = messages.get(&digest) {
                let relayed = self.relayed.entry((subject, home)).or_default();
                relayed.push((revision, *own));
            } else {
                let what = format!("partition {home} never told {effect:?}");
                return Err(Broken::new(DURABLE, what));
            }
        }
        self.of_controller(controller).decided(effect)
    }

    /// A list is made of these partitions' pages, by their revisions: what was told before the first's must be in the others'.
    pub(crate) fn gathered(
        &self,
        subject: usize,
        pages: &BTreeMap<Partition, u64>,
    ) -> Result<(), Broken> {
        let first = pages.get(&Partition::FIRST).copied().unwrap_or_default();
        for (partition, page) in pages {
            let relayed = self.relayed.get(&(subject, *partition));
            let told = relayed.into_iter().flatten();
            let told = told.filter(|(revision, _)| *revision <= first);
            let told = told.map(|(_, own)| *own).max().unwrap_or_default();
            ensure(told <= *page, REVISIONS, || {
                format!(
                    "a list under revision {first} has partition {partition} as of {page}, of which {told} was told before"
                )
            })?;
        }
        Ok(())
    }

    /// A command or a broadcast leaves.
    pub(crate) fn told(&mut self, controller: usize, effect: &Effect) -> Result<(), Broken> {
        let effect = &*read(effect)?;
        if let Effect::ShardsUpdated(message, _) = effect {
            let by = self.divided.portion(controller).partition;
            for record in &message.updated {
                self.shown(by, record, message.revision)?;
            }
            for shard in &message.removed {
                ensure(shard.revision == message.revision, REVISIONS, || {
                    format!("{shard:?} is told under revision {}", message.revision)
                })?;
            }
        }
        self.of_controller(controller).told(controller, effect)
    }

    /// A shard's record leaves: it is one that was on disk under its revision, or, if it is another partition's, under any.
    fn shown(&self, by: Partition, record: &ShardRecord, revision: u64) -> Result<(), Broken> {
        let home = home(self.divided.of, &record.host_uuid);
        let oracle = &self.all[home.index()];
        if home == by {
            return oracle.shown(record);
        }
        ensure(by == Partition::FIRST, OTHERS, || {
            format!("partition {by} tells of {record:?}")
        })?;
        ensure(record.revision == revision, REVISIONS, || {
            format!("{record:?} is told under revision {revision}")
        })?;
        oracle.shown_under_another(record)
    }
}

/// Where a host's record is.
fn home(of: Partitions, host: &HostId) -> Partition {
    if of == Partitions::ONE {
        Partition::FIRST
    } else {
        of.of_host(host)
    }
}

/// What another partition told, as it is told on.
fn read(effect: &Effect) -> Result<Cow<'_, Effect>, Broken> {
    let Effect::Relayed {
        revision,
        told,
        trace,
    } = effect
    else {
        return Ok(Cow::Borrowed(effect));
    };
    let (message, trace) = (relay_format::with_revision(told, *revision), trace.clone());
    let read = match told.topic {
        Topic::Shards => {
            serde_json::from_slice(&message).map(|message| Effect::ShardsUpdated(message, trace))
        }
        Topic::Hosts => serde_json::from_slice(&message).map(Effect::HostsUpdated),
        Topic::Operations => serde_json::from_slice(&message)
            .map(|message| Effect::OperationsUpdated(message, trace)),
    };
    let unreadable = |error| Broken::new(DURABLE, format!("{told:?} cannot be read: {error}"));
    read.map(Cow::Owned).map_err(unreadable)
}

/// A digest of a broadcast without its revisions.
fn unnumbered(effect: &Effect) -> u64 {
    let mut effect = effect.clone();
    match &mut effect {
        Effect::Command { .. } | Effect::Relayed { .. } => {}
        Effect::ShardsUpdated(message, _) => {
            message.revision = 0;
            message
                .updated
                .iter_mut()
                .for_each(|shard| shard.revision = 0);
            message
                .removed
                .iter_mut()
                .for_each(|shard| shard.revision = 0);
        }
        Effect::HostsUpdated(message) => message.revision = 0,
        Effect::OperationsUpdated(message, _) => message.revision = 0,
    }
    Broadcast::of(&effect).map_or(0, |broadcast| broadcast.digest)
}

impl Oracle {
    /// A shard's record leaves under a revision that is not its own partition's.
    fn shown_under_another(&self, record: &ShardRecord) -> Result<(), Broken> {
        let mut unnumbered = record.clone();
        unnumbered.revision = 0;
        let key = (record.host_uuid.clone(), record.decky_id.clone());
        let stored = self.unnumbered.get(&key);
        let digest = digest_of_record(&unnumbered);
        ensure(
            stored.is_some_and(|stored| stored.contains(&digest)),
            DURABLE,
            || format!("{record:?} was never on disk so"),
        )
    }
}
