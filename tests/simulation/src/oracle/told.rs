//! The rules for what leaves: answers, commands and broadcasts speak of what is durable, and one revision of
//! one subject has one content.

use scuttle_controller::partition::assignment::PartitionAssignment;
use scuttle_core::{Effect, Reply};
use scuttle_schemas::HostId;
use scuttle_schemas::agents::AgentCommand;
use scuttle_schemas::operations::OperationState;
use scuttle_schemas::shards::ShardRecord;
use scuttle_schemas::teardown::TeardownAccepted;

use super::rules::{digest, digest_of_record};
use super::{Broken, DURABLE, LOST, Oracle, REVISIONS, ensure};
use crate::term::Asker;
use crate::world::Counts;

impl Oracle {
    /// An answer leaves; of its shards it was seen that they are on disk.
    pub(super) fn answered(
        &mut self,
        controller: usize,
        asker: &Asker,
        reply: &Reply,
        counts: &mut Counts,
    ) -> Result<(), Broken> {
        match reply {
            Reply::Teardown(answer) => {
                // A leader that does not know that its term is over may tell of what was repeated to the next one.
                let late = self.terms[controller].epoch != Some(self.rows.meta.epoch);
                if self.promised.insert(answer.operation_id) {
                    counts.accepted += 1;
                } else {
                    ensure(answer.repeated || late, LOST, || {
                        format!("{} is made twice", answer.operation_id)
                    })?;
                }
                self.accepted(asker, answer)
            }
            Reply::Recorded(answer) => {
                let row = asker.operation.and_then(|id| self.rows.operations.get(&id));
                let row = row.filter(|row| asker.subject.contains(row.host.as_str()));
                let has_result = row.is_some_and(|row| {
                    matches!(
                        row.state,
                        OperationState::Succeeded | OperationState::Failed
                    )
                });
                let unknown = answer.detail.is_some();
                ensure(
                    unknown == row.is_none() && (unknown || has_result),
                    DURABLE,
                    || {
                        format!(
                            "`recorded` ({:?}) for {:?}, which is {:?}",
                            answer.detail,
                            asker.operation,
                            row.map(|row| row.state)
                        )
                    },
                )
            }
            Reply::Cancelled(answer) => {
                let row = self.rows.operations.get(&answer.operation.operation_id);
                let ended = row.is_some_and(|row| {
                    !matches!(row.state, OperationState::Queued | OperationState::Running)
                });
                ensure(ended, DURABLE, || {
                    format!("{} is told cancelled", answer.operation.operation_id)
                })
            }
            Reply::Enroll(answer) => {
                let known = self.rows.hosts.contains_key(&answer.host.host_uuid);
                ensure(known, DURABLE, || {
                    format!("{} is told enrolled", answer.host.host_uuid)
                })
            }
            Reply::Shards(list) => ensure(
                list.revision <= self.rows.meta.revisions.shards,
                DURABLE,
                || format!("a list of revision {}", list.revision),
            ),
            Reply::Hosts(_)
            | Reply::Operations(_)
            | Reply::Operation(_)
            | Reply::Plan(_)
            | Reply::Decommissioned(_)
            | Reply::Heartbeat(_)
            | Reply::Refused(_) => Ok(()),
        }
    }

    fn accepted(&mut self, asker: &Asker, answer: &TeardownAccepted) -> Result<(), Broken> {
        let id = answer.operation_id;
        let durable = self.rows.operations.get(&id);
        ensure(
            durable.is_some_and(|row| row.host == answer.host_uuid),
            DURABLE,
            || format!("{id} is told accepted, and is not on disk"),
        )?;
        if let Some(key) = &asker.key {
            let first = *self.answered.entry(key.clone()).or_insert(id);
            ensure(first == id, LOST, || {
                format!("key {key:?} stood for {first}, and now for {id}")
            })?;
        }
        Ok(())
    }

    /// A shard's record leaves: it is one that was on disk under its revision.
    pub(super) fn shown(&self, record: &ShardRecord) -> Result<(), Broken> {
        let key = (
            record.host_uuid.clone(),
            record.decky_id.clone(),
            record.revision,
        );
        let stored = self.history.get(&key);
        ensure(stored == Some(&digest_of_record(record)), DURABLE, || {
            format!("{record:?} was never on disk so")
        })
    }

    /// A command or a broadcast leaves; of its shards it was seen that they are on disk.
    pub(super) fn told(&mut self, controller: usize, effect: &Effect) -> Result<(), Broken> {
        match Broadcast::of(effect) {
            Ok(broadcast) => self.broadcast(controller, &broadcast),
            Err((host, command)) => self.commanded(controller, host, command),
        }
    }

    /// A batch has become durable, and this is to be told of it: no revision is given to anything else from now on.
    pub(super) fn decided(&mut self, effect: &Effect) -> Result<(), Broken> {
        let Ok(broadcast) = Broadcast::of(effect) else {
            return Ok(());
        };
        let revision = broadcast.revision;
        let contents = &mut self.contents[broadcast.subject];
        if broadcast.empty {
            // It repeats what was given, or tells that another partition's was missed.
            contents.entry(revision).or_insert(broadcast.digest);
            return Ok(());
        }
        let given = contents.insert(revision, broadcast.digest);
        ensure(given.is_none(), REVISIONS, || {
            format!("revision {revision} is given again, to {effect:?}")
        })
    }

    fn commanded(
        &self,
        controller: usize,
        host: &str,
        command: &AgentCommand,
    ) -> Result<(), Broken> {
        let (id, epoch) = match command {
            AgentCommand::Teardown(command) => (command.operation_id, command.controller_epoch),
            AgentCommand::Cancel(command) => (command.operation_id, command.controller_epoch),
        };
        let row = self.rows.operations.get(&id);
        let durable = row.is_some_and(|row| row.host.as_str() == host)
            && Some(epoch) == self.terms[controller].epoch;
        ensure(durable, DURABLE, || {
            format!("{command:?} is sent to {host}, and is not on disk so")
        })
    }

    /// One message of one broadcast subject: the next revision of this term, or its last one again. One whose term is over,
    /// without its knowing, tells what was durable before.
    fn broadcast(&mut self, controller: usize, broadcast: &Broadcast) -> Result<(), Broken> {
        let Broadcast {
            subject,
            revision,
            digest,
            ..
        } = *broadcast;
        let revisions = self.rows.meta.revisions;
        let durable = [revisions.shards, revisions.hosts, revisions.operations][subject];
        ensure(revision <= durable, DURABLE, || {
            format!("revision {revision} is told, {durable} is on disk")
        })?;
        let last = &mut self.terms[controller].told[subject];
        // What another partition told after something that did not come is told on with a gap before it.
        let jumps = broadcast.may_jump(self.portion) && revision == *last + 2;
        if broadcast.empty && !jumps {
            return ensure(revision == *last, REVISIONS, || {
                format!("revision {revision} is repeated after {last}")
            });
        }
        let known = self.contents[subject].get(&revision);
        ensure(known == Some(&digest), REVISIONS, || {
            format!("revision {revision} is told with another content than became durable")
        })?;
        ensure(jumps || revision == *last + 1, REVISIONS, || {
            format!("revision {revision} is told after {last}")
        })?;
        *last = revision;
        Ok(())
    }
}

/// A message on a broadcast subject.
pub(super) struct Broadcast<'e> {
    pub(super) subject: usize,
    pub(super) revision: u64,
    /// It repeats the last revision.
    empty: bool,
    /// A host that it is about.
    pub(super) host: Option<&'e HostId>,
    pub(super) digest: u64,
}

impl<'e> Broadcast<'e> {
    /// What is broadcast, or else the command and its host.
    pub(super) fn of(effect: &'e Effect) -> Result<Self, (&'e str, &'e AgentCommand)> {
        let (subject, revision, host, content) = match effect {
            Effect::Command { host, command, .. } => return Err((host.as_str(), command)),
            Effect::Relayed { .. } => unreachable!("it is read before it is judged"),
            Effect::ShardsUpdated(message, _) => {
                let updated = message.updated.first().map(|shard| &shard.host_uuid);
                let removed = message.removed.first().map(|shard| &shard.host_uuid);
                let content = serde_json::to_string(message);
                (0, message.revision, updated.or(removed), content)
            }
            Effect::HostsUpdated(message) => {
                let host = message.updated.first().map(|host| &host.host_uuid);
                (1, message.revision, host, serde_json::to_string(message))
            }
            Effect::OperationsUpdated(message, _) => {
                let updated = message.updated.first();
                let host = updated.map(|operation| &operation.host_uuid);
                (2, message.revision, host, serde_json::to_string(message))
            }
        };
        Ok(Self {
            subject,
            revision,
            empty: host.is_none(),
            host,
            digest: digest(&content.unwrap_or_default()),
        })
    }

    /// Whether it may be another partition's, told on by the first.
    fn may_jump(&self, by: PartitionAssignment) -> bool {
        let of_another = self.host.is_none_or(|host| !by.owns_host(host));
        by.is_one_of_several() && by.is_first() && of_another
    }
}
