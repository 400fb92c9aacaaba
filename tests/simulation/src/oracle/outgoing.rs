//! The rules for a controller's outgoing messages. Replies, commands and broadcasts contain only
//! durable data, and no revision of a broadcast subject is used for two different messages.

use scuttle_core::{Effect, Reply};
use scuttle_schemas::agents::AgentCommand;
use scuttle_schemas::operations::OperationState;
use scuttle_schemas::shards::ShardRecord;
use scuttle_schemas::teardown::TeardownAccepted;

use crate::oracle::broadcast::Broadcast;
use crate::oracle::digest::digests_of_row_behind;
use crate::oracle::partition::PartitionOracle;
use crate::oracle::violation::{DURABLE_FIRST, GAPLESS_REVISIONS, NOTHING_LOST, Violation, ensure};
use crate::state::controllers::requester::Requester;
use crate::state::counts::Counts;

impl PartitionOracle {
    /// Checks a reply that is being sent, except its shard records, which are checked separately.
    pub(crate) fn check_reply(
        &mut self,
        controller: usize,
        requester: &Requester,
        reply: &Reply,
        counts: &mut Counts,
    ) -> Result<(), Violation> {
        match reply {
            Reply::Teardown(reply) => {
                // A leader that does not know yet that its term is over may report a request that
                // was repeated to the next leader.
                let late = self.terms[controller].epoch != Some(self.record.meta.epoch);
                if self.accepted_ids.insert(reply.operation_id) {
                    counts.accepted += 1;
                } else {
                    ensure(reply.repeated || late, NOTHING_LOST, || {
                        format!("operation {} is accepted twice", reply.operation_id)
                    })?;
                }
                self.check_accepted(requester, reply)
            }
            Reply::Recorded(reply) => {
                let row = requester
                    .operation
                    .and_then(|id| self.record.operations.get(&id));
                let row = row.filter(|row| requester.subject.contains(row.host.as_str()));
                let has_result = row.is_some_and(|row| {
                    matches!(
                        row.state,
                        OperationState::Succeeded | OperationState::Failed
                    )
                });
                let unknown = reply.detail.is_some();
                ensure(
                    unknown == row.is_none() && (unknown || has_result),
                    DURABLE_FIRST,
                    || {
                        format!(
                            "`recorded` ({:?}) for {:?}, which is {:?}",
                            reply.detail,
                            requester.operation,
                            row.map(|row| row.state)
                        )
                    },
                )
            }
            Reply::Cancelled(reply) => {
                let row = self.record.operations.get(&reply.operation.operation_id);
                let ended = row.is_some_and(|row| {
                    !matches!(row.state, OperationState::Queued | OperationState::Running)
                });
                ensure(ended, DURABLE_FIRST, || {
                    format!(
                        "the reply says that {} is cancelled, but it is not",
                        reply.operation.operation_id
                    )
                })
            }
            Reply::Enroll(reply) => {
                let known = self.record.hosts.contains_key(&reply.host.host_uuid);
                ensure(known, DURABLE_FIRST, || {
                    format!(
                        "the reply says that {} is enrolled, but it is not on record",
                        reply.host.host_uuid
                    )
                })
            }
            Reply::Shards(list) => ensure(
                list.revision <= self.record.meta.revisions.shards,
                DURABLE_FIRST,
                || {
                    format!(
                        "a list has revision {}, which is not durable",
                        list.revision
                    )
                },
            ),
            Reply::Hosts(_)
            | Reply::Operations(_)
            | Reply::Operation(_)
            | Reply::Plan(_)
            | Reply::HostUpdated(_)
            | Reply::Protected(_)
            | Reply::Decommissioned(_)
            | Reply::Heartbeat(_)
            | Reply::Rejected(_) => Ok(()),
        }
    }

    fn check_accepted(
        &mut self,
        requester: &Requester,
        reply: &TeardownAccepted,
    ) -> Result<(), Violation> {
        let id = reply.operation_id;
        let durable = self.record.operations.get(&id);
        ensure(
            durable.is_some_and(|row| row.host == reply.host_uuid),
            DURABLE_FIRST,
            || format!("the reply says that {id} is accepted, but it is not on disk"),
        )?;
        if let Some(key) = &requester.key {
            let first = *self.operations_by_key.entry(key.clone()).or_insert(id);
            ensure(first == id, NOTHING_LOST, || {
                format!("key {key:?} was for {first}, and is now for {id}")
            })?;
        }
        Ok(())
    }

    /// Checks a shard record that is being sent: its row must have been on disk with the same
    /// revision.
    pub(crate) fn check_record(&self, record: &ShardRecord) -> Result<(), Violation> {
        let key = (
            record.host_uuid.clone(),
            record.decky_id.clone(),
            record.revision,
        );
        let stored = self.row_digests.get(&key);
        ensure(
            stored.is_some_and(|stored| digests_of_row_behind(record).contains(stored)),
            DURABLE_FIRST,
            || format!("{record:?} was never on disk"),
        )
    }

    /// Checks a command or a broadcast that is being sent, except its shard records, which are
    /// checked separately.
    pub(crate) fn check_sent(
        &mut self,
        controller: usize,
        effect: &Effect,
    ) -> Result<(), Violation> {
        match Broadcast::from_effect(effect) {
            Ok(broadcast) => self.check_broadcast(controller, &broadcast),
            Err((host, command)) => self.check_command(controller, host, command),
        }
    }

    /// Notes an effect of a batch that has just been committed, and checks that its revision was
    /// not used before.
    pub(crate) fn check_committed(&mut self, effect: &Effect) -> Result<(), Violation> {
        let Ok(broadcast) = Broadcast::from_effect(effect) else {
            return Ok(());
        };
        let revision = broadcast.revision;
        let contents = &mut self.broadcast_digests[broadcast.subject];
        if broadcast.empty {
            // The message repeats a revision, or reports that a broadcast of another partition was
            // missed.
            contents.entry(revision).or_insert(broadcast.digest);
            return Ok(());
        }
        let given = contents.insert(revision, broadcast.digest);
        ensure(given.is_none(), GAPLESS_REVISIONS, || {
            format!("revision {revision} is used again, for {effect:?}")
        })
    }

    fn check_command(
        &self,
        controller: usize,
        host: &str,
        command: &AgentCommand,
    ) -> Result<(), Violation> {
        let (id, epoch) = match command {
            AgentCommand::Teardown(command) => (command.operation_id, command.controller_epoch),
            AgentCommand::Cancel(command) => (command.operation_id, command.controller_epoch),
        };
        let row = self.record.operations.get(&id);
        let durable = row.is_some_and(|row| row.host.as_str() == host)
            && Some(epoch) == self.terms[controller].epoch;
        ensure(durable, DURABLE_FIRST, || {
            format!("{command:?} is sent to {host}, but is not on disk")
        })
    }

    /// Checks a broadcast: it must have the next revision of the leader's term, or repeat the last
    /// revision. A leader that does not yet know that it was deposed may still send data that
    /// became durable earlier.
    fn check_broadcast(
        &mut self,
        controller: usize,
        broadcast: &Broadcast,
    ) -> Result<(), Violation> {
        let Broadcast {
            subject,
            revision,
            digest,
            ..
        } = *broadcast;
        let revisions = self.record.meta.revisions;
        let durable = [revisions.shards, revisions.hosts, revisions.operations][subject];
        ensure(revision <= durable, DURABLE_FIRST, || {
            format!("revision {revision} is sent, but only {durable} is on disk")
        })?;
        let last = &mut self.terms[controller].last_revisions[subject];
        // After a missed broadcast of another partition, the first partition skips one revision.
        let leaves_gap = broadcast.may_leave_gap(self.assignment) && revision == *last + 2;
        if broadcast.empty && !leaves_gap {
            return ensure(revision == *last, GAPLESS_REVISIONS, || {
                format!("revision {revision} is repeated after {last}")
            });
        }
        let known = self.broadcast_digests[subject].get(&revision);
        ensure(known == Some(&digest), GAPLESS_REVISIONS, || {
            format!("revision {revision} is sent with other content than became durable")
        })?;
        ensure(
            leaves_gap || revision == *last + 1,
            GAPLESS_REVISIONS,
            || format!("revision {revision} is sent after {last}"),
        )?;
        *last = revision;
        Ok(())
    }

    /// Checks a shard record that the first partition relays with a different revision. Apart from
    /// its revision, the record must have been on disk.
    pub(crate) fn check_relayed_record(&self, record: &ShardRecord) -> Result<(), Violation> {
        let mut unnumbered = record.clone();
        unnumbered.revision = 0;
        let key = (record.host_uuid.clone(), record.decky_id.clone());
        let stored = self.relayed_digests.get(&key);
        let mut digests = digests_of_row_behind(&unnumbered).into_iter();
        ensure(
            stored.is_some_and(|stored| digests.any(|digest| stored.contains(&digest))),
            DURABLE_FIRST,
            || format!("{record:?} was never on disk"),
        )
    }
}
