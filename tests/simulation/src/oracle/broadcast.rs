//! Broadcasts in a form that the oracle can compare.

use std::borrow::Cow;

use scuttle_controller::partition::assignment::PartitionAssignment;
use scuttle_controller::partition::relay_format;
use scuttle_core::{Effect, Topic};
use scuttle_schemas::HostId;
use scuttle_schemas::agents::AgentCommand;

use crate::oracle::digest::digest;
use crate::oracle::violation::{DURABLE_FIRST, Violation};

/// A message on a broadcast subject.
pub(crate) struct Broadcast<'e> {
    pub(crate) subject: usize,
    pub(crate) revision: u64,
    /// Whether the message has no changes and only repeats the last revision.
    pub(crate) empty: bool,
    /// A host that the message concerns.
    pub(crate) host: Option<&'e HostId>,
    pub(crate) digest: u64,
}

impl<'e> Broadcast<'e> {
    /// Reads a broadcast. The error holds the host and the command, if the effect is a command.
    pub(crate) fn from_effect(effect: &'e Effect) -> Result<Self, (&'e str, &'e AgentCommand)> {
        let (subject, revision, host, content) = match effect {
            Effect::Command { host, command, .. } => return Err((host.as_str(), command)),
            Effect::Relayed { .. } => {
                unreachable!("relayed messages are decoded before they are checked")
            }
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

    /// Returns whether there may be a gap before the message, because the first partition may have
    /// relayed it for another partition.
    pub(crate) fn may_leave_gap(&self, sender: PartitionAssignment) -> bool {
        let of_another = self.host.is_none_or(|host| !sender.owns_host(host));
        sender.is_one_of_several() && sender.is_first() && of_another
    }
}

/// Returns a digest of a broadcast without its revisions.
pub(crate) fn digest_without_revisions(effect: &Effect) -> u64 {
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
    Broadcast::from_effect(&effect).map_or(0, |broadcast| broadcast.digest)
}

/// Decodes a broadcast that is relayed for another partition.
pub(crate) fn decode_relayed(effect: &Effect) -> Result<Cow<'_, Effect>, Violation> {
    let Effect::Relayed {
        revision,
        broadcast,
        trace,
    } = effect
    else {
        return Ok(Cow::Borrowed(effect));
    };
    let (message, trace) = (
        relay_format::with_revision(broadcast, *revision),
        trace.clone(),
    );
    let decoded = match broadcast.topic {
        Topic::Shards => {
            serde_json::from_slice(&message).map(|message| Effect::ShardsUpdated(message, trace))
        }
        Topic::Hosts => serde_json::from_slice(&message).map(Effect::HostsUpdated),
        Topic::Operations => serde_json::from_slice(&message)
            .map(|message| Effect::OperationsUpdated(message, trace)),
    };
    let undecodable = |error| {
        Violation::new(
            DURABLE_FIRST,
            format!("{broadcast:?} cannot be decoded: {error}"),
        )
    };
    decoded.map(Cow::Owned).map_err(undecodable)
}
