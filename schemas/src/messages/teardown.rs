//! `swarm.teardown`: the request and the replies to it.

use serde::{Deserialize, Deserializer, Serialize};

use crate::messages::shards::ShardState;
use crate::types::ids::{DeckyId, HostId, HostName, OperationId};
use crate::types::text::{MAX_TEXT_CHARS, bounded};
use crate::types::timestamp::Timestamp;

/// The longest timeout of a teardown, in seconds.
pub const MAX_TIMEOUT_S: u32 = 86_400;
/// The timeout of a teardown if the request gives none, in seconds.
pub const DEFAULT_TIMEOUT_S: u32 = 600;

/// Requests the teardown of one decky, or of a whole host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TeardownRequest {
    /// The host.
    pub host_uuid: HostId,
    /// The decky. Absent or null for the whole host: all its deckies and their networks.
    #[serde(default)]
    pub decky_id: Option<DeckyId>,
    /// Seconds until the deadline of the operation, 1 to 86400. Default: 600.
    #[serde(default = "default_timeout", deserialize_with = "deserialize_timeout")]
    #[cfg_attr(feature = "generate", schemars(range(min = 1, max = MAX_TIMEOUT_S)))]
    pub timeout_s: u32,
    /// Returns the plan of the teardown. Nothing is stored or sent.
    #[serde(default)]
    pub dry_run: bool,
    /// Rejects the request if the targets are no longer those of the plan with this hash.
    #[serde(default, deserialize_with = "bounded::<_, 128>")]
    #[cfg_attr(feature = "generate", schemars(length(max = 128)))]
    pub expect_plan: Option<String>,
    /// The reason for the teardown, for operators. At most 512 characters.
    #[serde(default, deserialize_with = "bounded::<_, MAX_TEXT_CHARS>")]
    #[cfg_attr(feature = "generate", schemars(length(max = MAX_TEXT_CHARS)))]
    pub reason: Option<String>,
}

fn default_timeout() -> u32 {
    DEFAULT_TIMEOUT_S
}

fn deserialize_timeout<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let seconds = u32::deserialize(deserializer)?;
    if (1..=MAX_TIMEOUT_S).contains(&seconds) {
        Ok(seconds)
    } else {
        Err(serde::de::Error::custom(format!(
            "timeout_s must be 1 to {MAX_TIMEOUT_S}"
        )))
    }
}

/// The teardown is accepted: its operation is on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct TeardownAccepted {
    /// Always true.
    #[cfg_attr(feature = "generate", schemars(extend("const" = true)))]
    pub accepted: bool,
    /// `teardown queued` or `teardown already in progress`.
    pub detail: String,
    /// The operation.
    pub operation_id: OperationId,
    /// The host.
    pub host_uuid: HostId,
    /// The name of the host.
    pub host_name: HostName,
    /// The decky that the operation tears down, or null for the whole host.
    pub decky_id: Option<DeckyId>,
    /// How many shards the operation covers.
    pub shards: usize,
    /// When the operation times out.
    pub deadline: Timestamp,
    /// Whether the request was covered by an existing operation instead of a new one.
    pub repeated: bool,
}

/// The `detail` of the reply if the request created an operation.
pub const DETAIL_QUEUED: &str = "teardown queued";
/// The `detail` of the reply if an open operation covers the target.
pub const DETAIL_IN_PROGRESS: &str = "teardown already in progress";

/// The `detail` of the reply to a dry run.
pub const DETAIL_DRY_RUN: &str = "dry run";

/// The reply to a dry run. Nothing was stored or sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct TeardownPlan {
    /// Always false.
    #[cfg_attr(feature = "generate", schemars(extend("const" = false)))]
    pub accepted: bool,
    /// `dry run`.
    pub detail: String,
    /// A hash of the targets, for `expect_plan`.
    pub plan: String,
    /// The shards that the teardown would remove.
    #[cfg_attr(feature = "generate", schemars(length(max = crate::types::limits::MAX_DECKIES_PER_HOST)))]
    pub targets: Vec<PlanTarget>,
}

/// One shard of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct PlanTarget {
    /// The decky.
    pub decky_id: DeckyId,
    /// The current state of the shard.
    pub state: ShardState,
}
