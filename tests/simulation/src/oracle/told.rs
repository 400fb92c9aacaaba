//! The rules for what leaves: answers, commands and broadcasts speak of what is durable, and one revision of
//! one subject has one content.

use scuttle_core::{Effect, Reply};
use scuttle_schemas::agents::AgentCommand;
use scuttle_schemas::operations::OperationState;
use scuttle_schemas::shards::ShardRecord;
use scuttle_schemas::teardown::TeardownAccepted;

use super::rules::{digest, digest_of_record};
use super::{Broken, DURABLE, LOST, Oracle, REVISIONS, ensure};
use crate::controller::Asker;
use crate::world::Counts;

impl Oracle {
    /// An answer leaves.
    pub(crate) fn answered(
        &mut self,
        asker: &Asker,
        reply: &Reply,
        counts: &mut Counts,
    ) -> Result<(), Broken> {
        match reply {
            Reply::Teardown(answer) => self.accepted(asker, answer, counts),
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
            Reply::Shards(list) => {
                ensure(
                    list.revision <= self.rows.meta.revisions.shards,
                    DURABLE,
                    || format!("a list of revision {}", list.revision),
                )?;
                list.shards.iter().try_for_each(|record| self.shown(record))
            }
            Reply::Hosts(_)
            | Reply::Operations(_)
            | Reply::Operation(_)
            | Reply::Plan(_)
            | Reply::Decommissioned(_)
            | Reply::Heartbeat(_)
            | Reply::Refused(_) => Ok(()),
        }
    }

    fn accepted(
        &mut self,
        asker: &Asker,
        answer: &TeardownAccepted,
        counts: &mut Counts,
    ) -> Result<(), Broken> {
        let id = answer.operation_id;
        let durable = self.rows.operations.get(&id);
        ensure(
            durable.is_some_and(|row| row.host == answer.host_uuid),
            DURABLE,
            || format!("{id} is told accepted, and is not on disk"),
        )?;
        if self.promised.insert(id) {
            counts.accepted += 1;
        } else {
            ensure(answer.repeated, LOST, || format!("{id} is made twice"))?;
        }
        if let Some(key) = &asker.key {
            let first = *self.answered.entry(key.clone()).or_insert(id);
            ensure(first == id, LOST, || {
                format!("key {key:?} stood for {first}, and now for {id}")
            })?;
        }
        Ok(())
    }

    /// A shard's record leaves: it is one that was on disk under its revision.
    fn shown(&self, record: &ShardRecord) -> Result<(), Broken> {
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

    /// A command or a broadcast leaves.
    pub(crate) fn told(&mut self, effect: &Effect) -> Result<(), Broken> {
        match effect {
            Effect::Command { host, command, .. } => self.commanded(host.as_str(), command),
            Effect::ShardsUpdated(message, _) => {
                for record in &message.updated {
                    self.shown(record)?;
                }
                let empty = message.updated.is_empty() && message.removed.is_empty();
                let content = serde_json::to_string(message).unwrap_or_default();
                let most = self.rows.meta.revisions.shards;
                self.broadcast(0, message.revision, most, empty, &content)
            }
            Effect::HostsUpdated(message) => {
                let content = serde_json::to_string(message).unwrap_or_default();
                let most = self.rows.meta.revisions.hosts;
                self.broadcast(
                    1,
                    message.revision,
                    most,
                    message.updated.is_empty(),
                    &content,
                )
            }
            Effect::OperationsUpdated(message, _) => {
                let content = serde_json::to_string(message).unwrap_or_default();
                let most = self.rows.meta.revisions.operations;
                self.broadcast(
                    2,
                    message.revision,
                    most,
                    message.updated.is_empty(),
                    &content,
                )
            }
        }
    }

    fn commanded(&self, host: &str, command: &AgentCommand) -> Result<(), Broken> {
        let (id, epoch) = match command {
            AgentCommand::Teardown(command) => (command.operation_id, command.controller_epoch),
            AgentCommand::Cancel(command) => (command.operation_id, command.controller_epoch),
        };
        let row = self.rows.operations.get(&id);
        let durable =
            row.is_some_and(|row| row.host.as_str() == host) && epoch == self.rows.meta.epoch;
        ensure(durable, DURABLE, || {
            format!("{command:?} is sent to {host}, and is not on disk so")
        })
    }

    /// One message of one broadcast subject: the next revision, or the last one again.
    fn broadcast(
        &mut self,
        subject: usize,
        revision: u64,
        durable: u64,
        empty: bool,
        content: &str,
    ) -> Result<(), Broken> {
        ensure(revision <= durable, DURABLE, || {
            format!("revision {revision} is told, {durable} is on disk")
        })?;
        let told = &mut self.told[subject];
        if empty {
            return ensure(revision == told.last, REVISIONS, || {
                format!("revision {revision} is repeated after {}", told.last)
            });
        }
        let digest = digest(content);
        let known = *told.contents.entry(revision).or_insert(digest);
        ensure(known == digest, REVISIONS, || {
            format!("revision {revision} has another content: {content}")
        })?;
        ensure(revision == told.last + 1, REVISIONS, || {
            format!("revision {revision} is told after {}", told.last)
        })?;
        told.last = revision;
        Ok(())
    }
}
