//! `swarm.shards.protect`: the request to protect a decky or a host from teardowns, and its reply.

use serde::{Deserialize, Serialize};

use crate::types::ids::{DeckyId, HostId};
use crate::types::labels::Labels;
use crate::types::text::{MAX_TEXT_CHARS, bounded};

/// The label that protects a decky if its value is `true`. A container's label of this name is
/// reported as a label of its decky.
pub const PROTECTED_LABEL: &str = "scuttle.protected";

/// Returns whether the labels of a decky protect it.
pub fn is_protected_by_label(labels: &Labels) -> bool {
    let value = labels.as_map().get(PROTECTED_LABEL);
    value.is_some_and(|value| value == "true")
}

/// A request to protect a decky or a whole host from teardowns, or to lift that protection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ProtectRequest {
    /// The id of the host that is protected, or on which the decky is deployed.
    pub host_uuid: HostId,
    /// The id of the decky to protect. Absent or null for the host with all its deckies, including
    /// those that are registered later.
    #[serde(default)]
    pub decky_id: Option<DeckyId>,
    /// Whether to protect the target. If false, the protection that a request has set is lifted,
    /// but not the protection by a label.
    pub protected: bool,
    /// The reason for the change, for the audit log. At most 512 characters.
    #[serde(default, deserialize_with = "bounded::<_, MAX_TEXT_CHARS>")]
    #[cfg_attr(feature = "generate", schemars(length(max = MAX_TEXT_CHARS)))]
    pub reason: Option<String>,
}

/// The reply to an accepted request to protect a target, or to lift its protection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct ProtectAccepted {
    /// Always true. A rejected request gets an error reply instead.
    #[cfg_attr(feature = "generate", schemars(extend("const" = true)))]
    pub accepted: bool,
    /// Whether the target is protected after the request. A decky whose protection was lifted is
    /// still protected if its label or its host protects it.
    pub protected: bool,
}
