//! `swarm.teardown`: the request and the replies to it.

use serde::{Deserialize, Deserializer, Serialize};

use crate::messages::shards::ShardState;
use crate::types::decode::is_false;
use crate::types::deployment::Deployment;
use crate::types::ids::{DeckyId, HostId, HostName, OperationId};
use crate::types::text::{MAX_TEXT_CHARS, bounded};
use crate::types::timestamp::Timestamp;

/// The maximum timeout of a teardown, in seconds.
pub const MAX_TIMEOUT_S: u32 = 86_400;
/// The timeout in seconds of a teardown whose request gives none.
pub const DEFAULT_TIMEOUT_S: u32 = 600;

/// A request to tear down one decky or a whole host.
///
/// `H` is the type of the host: an id on `swarm.teardown`, and optional in a
/// [`HostTeardownRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TeardownRequest<H = HostId> {
    /// The id of the host whose deckies to tear down. May be absent or null if the subject names
    /// the host.
    pub host_uuid: H,
    /// The id of the decky to tear down. Absent or null for the whole host: all its deckies and
    /// their networks.
    #[serde(default)]
    pub decky_id: Option<DeckyId>,
    /// The time until the deadline of the operation in seconds, 1 to 86400. Default: 600.
    #[serde(default = "default_timeout", deserialize_with = "deserialize_timeout")]
    #[cfg_attr(feature = "generate", schemars(range(min = 1, max = MAX_TIMEOUT_S)))]
    pub timeout_s: u32,
    /// Whether only to reply with the plan of the teardown, without storing or sending anything.
    /// Default: false.
    #[serde(default)]
    pub dry_run: bool,
    /// The `plan` from the reply to a dry run. The request is rejected if the targets or their
    /// protection are no longer those of that plan. At most 128 characters.
    #[serde(default, deserialize_with = "bounded::<_, 128>")]
    #[cfg_attr(feature = "generate", schemars(length(max = 128)))]
    pub expect_plan: Option<String>,
    /// The reason for the teardown, for operators. At most 512 characters.
    #[serde(default, deserialize_with = "bounded::<_, MAX_TEXT_CHARS>")]
    #[cfg_attr(feature = "generate", schemars(length(max = MAX_TEXT_CHARS)))]
    pub reason: Option<String>,
    /// Whether to tear down protected deckies too. Without it, a request with a protected target is
    /// rejected. Default: false.
    #[serde(default, skip_serializing_if = "is_false")]
    pub override_protection: bool,
}

/// A request to tear down one decky or all of the host that the subject names.
pub type HostTeardownRequest = TeardownRequest<Option<HostId>>;

impl HostTeardownRequest {
    /// Turns the request into one on `swarm.teardown`, with the host that the subject names.
    ///
    /// # Errors
    /// If the request names another host, which the error contains.
    pub fn with_subject_host(self, host: HostId) -> Result<TeardownRequest, HostId> {
        if let Some(other) = self.host_uuid.filter(|other| *other != host) {
            return Err(other);
        }
        Ok(TeardownRequest {
            host_uuid: host,
            decky_id: self.decky_id,
            timeout_s: self.timeout_s,
            dry_run: self.dry_run,
            expect_plan: self.expect_plan,
            reason: self.reason,
            override_protection: self.override_protection,
        })
    }
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

/// The reply to an accepted teardown request: the operation is durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct TeardownAccepted {
    /// Always true. A rejected request gets an error reply instead.
    #[cfg_attr(feature = "generate", schemars(extend("const" = true)))]
    pub accepted: bool,
    /// `teardown queued` if the request created the operation, or `teardown already in progress` if
    /// an open operation already covered the target.
    pub detail: String,
    /// The id of the operation that tears down the target.
    pub operation_id: OperationId,
    /// The id of the host whose deckies the operation tears down.
    pub host_uuid: HostId,
    /// The name of the host whose deckies the operation tears down.
    pub host_name: HostName,
    /// The id of the decky to tear down, or null for the whole host.
    pub decky_id: Option<DeckyId>,
    /// The number of shards that the operation covers.
    pub shards: usize,
    /// The time at which the operation times out.
    pub deadline: Timestamp,
    /// Whether the operation already existed before this request.
    pub repeated: bool,
}

/// The `detail` of a [`TeardownAccepted`] if the request created the operation.
pub const DETAIL_QUEUED: &str = "teardown queued";
/// The `detail` of a [`TeardownAccepted`] if an open operation already covered the target.
pub const DETAIL_IN_PROGRESS: &str = "teardown already in progress";

/// The `detail` of a [`TeardownPlan`], the reply to a dry run.
pub const DETAIL_DRY_RUN: &str = "dry run";

/// The reply to a dry run. Nothing was stored or sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct TeardownPlan {
    /// Always false, because a dry run creates no operation.
    #[cfg_attr(feature = "generate", schemars(extend("const" = false)))]
    pub accepted: bool,
    /// Always `dry run`.
    pub detail: String,
    /// A hash of all targets, also of those that `targets` omits, to send as the `expect_plan` of a
    /// later request.
    pub plan: String,
    /// The shards that the teardown would remove, at most 1000 of them, sorted by decky.
    #[cfg_attr(feature = "generate", schemars(length(max = crate::types::limits::MAX_PLAN_TARGETS)))]
    pub targets: Vec<PlanTarget>,
    /// The number of shards that the teardown would remove.
    #[serde(default)]
    pub total: usize,
}

/// One shard that a planned teardown would remove.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct PlanTarget {
    /// The id of the decky, unique on its host.
    pub decky_id: DeckyId,
    /// The current state of the shard.
    pub state: ShardState,
    /// The identity of the deployment that the teardown would remove. Absent if the agent does not
    /// report deployments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<Deployment>,
    /// Whether the decky is protected, so that only a request with `override_protection` tears it
    /// down. Absent if it is not.
    #[serde(default, skip_serializing_if = "is_false")]
    pub protected: bool,
}
