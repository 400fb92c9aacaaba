//! Broadcasts in a form that the oracle can compare.

use std::borrow::Cow;

use scuttle_controller::partition::assignment::PartitionAssignment;
use scuttle_controller::partition::relay_format;
use scuttle_core::{Effect, Topic};
use scuttle_schemas::HostId;
use scuttle_schemas::agents::AgentCommand;

use crate::oracle::digest::digest;
use crate::oracle::violation::{DURABLE_FIRST, Violation};

/// The content of a broadcast that the oracle compares.
pub(crate) struct Broadcast<'e> {
    pub(crate) subject: usize,
    pub(crate) revision: u64,
    /// Whether the message has no changes.
    pub(crate) empty: bool,
    /// The host of the first record in the message, or `None` if the message has no changes.
    pub(crate) host: Option<&'e HostId>,
    pub(crate) digest: u64,
}

impl<'e> Broadcast<'e> {
    /// Converts an effect to a broadcast. If the effect is a command, the error contains the host
    /// and the command. Panics if the effect is a relayed broadcast that was not decoded.
    pub(crate) fn from_effect(effect: &'e Effect) -> Result<Self, (&'e str, &'e AgentCommand)> {
        let (subject, revision, host, content) = match effect {
            Effect::Command { host, command, .. } => return Err((host.as_str(), command)),
            Effect::Relayed { .. } => {
                unreachable!("relayed messages are decoded before they are checked")
            }
            Effect::Quarantine { .. } => unreachable!("no simulated host is quarantined"),
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

    /// Returns whether a revision may be missing before the message. The leader of the first
    /// partition may leave such a gap before a message that it relays for another partition.
    pub(crate) fn may_leave_gap(&self, sender: PartitionAssignment) -> bool {
        let of_another = self.host.is_none_or(|host| !sender.owns_host(host));
        sender.is_one_of_several() && sender.is_first() && of_another
    }
}

/// Returns a digest of a broadcast with all its revisions set to 0.
pub(crate) fn digest_without_revisions(effect: &Effect) -> u64 {
    let mut effect = effect.clone();
    match &mut effect {
        Effect::Command { .. } | Effect::Relayed { .. } | Effect::Quarantine { .. } => {}
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

/// Decodes a relayed broadcast and gives it the revision under which it is relayed. Returns any
/// other effect unchanged. A broadcast that cannot be decoded is a violation.
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
