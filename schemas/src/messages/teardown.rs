//! `swarm.teardown`: the request and its answers.

use serde::{Deserialize, Deserializer, Serialize};

use crate::messages::shards::ShardState;
use crate::types::ids::{DeckyId, HostId, HostName, OperationId};
use crate::types::text::{MAX_TEXT_CHARS, bounded};
use crate::types::timestamp::Timestamp;

/// The longest time that a teardown can be given, in seconds.
pub const MAX_TIMEOUT_S: u32 = 86_400;
/// The time that a teardown is given when the request names none, in seconds.
pub const DEFAULT_TIMEOUT_S: u32 = 600;

/// Asks for the teardown of one decky, or of a whole host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TeardownRequest {
    /// The host.
    pub host_uuid: HostId,
    /// The decky; none: the whole host, all its deckies and their networks.
    #[serde(default)]
    pub decky_id: Option<DeckyId>,
    /// Seconds until the operation's deadline, 1 to 86400.
    #[serde(default = "default_timeout", deserialize_with = "timeout")]
    #[cfg_attr(feature = "generate", schemars(range(min = 1, max = MAX_TIMEOUT_S)))]
    pub timeout_s: u32,
    /// Only tell what would go.
    #[serde(default)]
    pub dry_run: bool,
    /// Refuse when the targets are no longer those of this plan.
    #[serde(default, deserialize_with = "bounded::<_, 128>")]
    #[cfg_attr(feature = "generate", schemars(length(max = 128)))]
    pub expect_plan: Option<String>,
    /// Why, in the operator's words; at most 512 characters.
    #[serde(default, deserialize_with = "bounded::<_, MAX_TEXT_CHARS>")]
    #[cfg_attr(feature = "generate", schemars(length(max = MAX_TEXT_CHARS)))]
    pub reason: Option<String>,
}

fn default_timeout() -> u32 {
    DEFAULT_TIMEOUT_S
}

fn timeout<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let seconds = u32::deserialize(deserializer)?;
    if (1..=MAX_TIMEOUT_S).contains(&seconds) {
        Ok(seconds)
    } else {
        Err(serde::de::Error::custom(format!(
            "timeout_s must be 1 to {MAX_TIMEOUT_S}"
        )))
    }
}

/// The teardown is on disk, and will be carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct TeardownAccepted {
    /// Always true.
    #[cfg_attr(feature = "generate", schemars(extend("const" = true)))]
    pub accepted: bool,
    /// `teardown queued` or `teardown already in progress`.
    pub detail: String,
    /// The operation to follow.
    pub operation_id: OperationId,
    /// The host.
    pub host_uuid: HostId,
    /// Its name.
    pub host_name: HostName,
    /// What the operation tears down; null: the whole host.
    pub decky_id: Option<DeckyId>,
    /// How many shards the operation covers.
    pub shards: usize,
    /// When it is given up.
    pub deadline: Timestamp,
    /// True when this request made no operation of its own.
    pub repeated: bool,
}

/// `detail` of a new operation.
pub const DETAIL_QUEUED: &str = "teardown queued";
/// `detail` of a request that an open operation covers.
pub const DETAIL_IN_PROGRESS: &str = "teardown already in progress";

/// `detail` of a dry run.
pub const DETAIL_DRY_RUN: &str = "dry run";

/// The answer to a dry run: nothing was stored or sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct TeardownPlan {
    /// Always false.
    #[cfg_attr(feature = "generate", schemars(extend("const" = false)))]
    pub accepted: bool,
    /// `dry run`.
    pub detail: String,
    /// A hash over the targets, for `expect_plan`.
    pub plan: String,
    /// What would go.
    #[cfg_attr(feature = "generate", schemars(length(max = crate::types::limits::MAX_DECKIES_PER_HOST)))]
    pub targets: Vec<PlanTarget>,
}

/// One shard of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct PlanTarget {
    /// The decky.
    pub decky_id: DeckyId,
    /// Its state now.
    pub state: ShardState,
}
