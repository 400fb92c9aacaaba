//! Messages between the controller and an agent: commands, progress, results and heartbeats, with
//! the replies to them.

use serde::{Deserialize, Deserializer, Serialize};

use crate::messages::message_type::message_type;
use crate::messages::shards::ShardState;
use crate::types::decode::{objects, optional_objects};
use crate::types::ids::{BootId, DeckyId, HostId, OperationId};
use crate::types::labels::{Labels, Services};
use crate::types::text::Text;
use crate::types::text::bounded;
use crate::types::timestamp::Timestamp;

/// A command from the controller to an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum AgentCommand {
    /// Start a teardown.
    #[serde(rename = "scuttle.v1.teardown_command")]
    Teardown(TeardownCommand),
    /// Do not start an operation.
    #[serde(rename = "scuttle.v1.cancel_command")]
    Cancel(CancelCommand),
}

/// Tells an agent to tear down one decky, or its whole host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct TeardownCommand {
    /// The operation. An agent executes each operation once.
    pub operation_id: OperationId,
    /// The host of the agent.
    pub host_uuid: HostId,
    /// The decky, or null for the whole host.
    #[serde(default)]
    pub decky_id: Option<DeckyId>,
    /// How many times this command has been sent, counting from 1.
    pub attempt: u32,
    /// The epoch of the controller that sends the command. An agent ignores a command with a lower
    /// epoch than the highest that it has seen.
    pub controller_epoch: u64,
    /// The deadline of the operation.
    pub not_after: Timestamp,
}

/// Tells an agent not to start an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct CancelCommand {
    /// The operation.
    pub operation_id: OperationId,
    /// The host of the agent.
    pub host_uuid: HostId,
    /// The epoch of the controller that sends the command.
    pub controller_epoch: u64,
}

/// A step of a teardown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ProgressStep {
    /// The teardown has started.
    Started,
    /// Containers are being stopped.
    Stopping,
    /// Containers and networks are being removed.
    Removing,
    /// The agent looks again for what it has removed.
    Verifying,
}

impl ProgressStep {
    /// Returns the name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Stopping => "stopping",
            Self::Removing => "removing",
            Self::Verifying => "verifying",
        }
    }
}

message_type!(
    /// The `type` of `TeardownProgress`.
    TeardownProgressType = "scuttle.v1.teardown_progress"
);

/// Reports the progress of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct TeardownProgress {
    /// Always `scuttle.v1.teardown_progress`.
    #[serde(rename = "type")]
    pub kind: TeardownProgressType,
    /// The operation.
    pub operation_id: OperationId,
    /// The boot of the agent.
    pub boot_id: BootId,
    /// The current step.
    pub step: ProgressStep,
    /// The decky that the agent works on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decky_id: Option<DeckyId>,
    /// How many deckies are done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<u32>,
    /// How many deckies there are in total.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u32>,
}

/// The outcome of an operation at its agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ResultOutcome {
    /// Everything was removed.
    Succeeded,
    /// Something could not be removed.
    Failed,
}

/// The outcome for one shard at its agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ReportedOutcome {
    /// The agent removed the decky, looked again, and found nothing.
    Removed,
    /// The agent found nothing to remove.
    Absent,
    /// The agent could not remove the decky.
    Failed,
}

/// The result for one shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct ShardResult {
    /// The decky.
    pub decky_id: DeckyId,
    /// The outcome.
    pub outcome: ReportedOutcome,
    /// Why the teardown failed.
    #[serde(default)]
    pub error: Option<Text>,
}

message_type!(
    /// The `type` of `TeardownResult`.
    TeardownResultType = "scuttle.v1.teardown_result"
);

/// Reports how an operation ended. The agent repeats the report until the reply is `recorded`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct TeardownResult {
    /// Always `scuttle.v1.teardown_result`.
    #[serde(rename = "type")]
    pub kind: TeardownResultType,
    /// The operation.
    pub operation_id: OperationId,
    /// The host of the agent.
    pub host_uuid: HostId,
    /// The boot of the agent.
    pub boot_id: BootId,
    /// The number of this report within the boot.
    pub sequence: u64,
    /// The overall outcome.
    pub outcome: ResultOutcome,
    /// Why the teardown failed.
    #[serde(default)]
    pub error: Option<Text>,
    /// The shards. Each decky is listed once.
    #[serde(default, deserialize_with = "objects")]
    #[cfg_attr(feature = "generate", schemars(length(max = crate::types::limits::MAX_DECKIES_PER_HOST)))]
    pub shards: Vec<ShardResult>,
    /// When the agent started the operation.
    pub started_at: Timestamp,
    /// When the agent finished the operation.
    pub finished_at: Timestamp,
}

/// The reply to a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct ResultRecorded {
    /// Always true: the result is on disk, or there is nothing to record.
    #[cfg_attr(feature = "generate", schemars(extend("const" = true)))]
    pub recorded: bool,
    /// `unknown operation` if the result matches no operation of its host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// The `detail` of the reply to a result that matches no operation of its host.
pub const DETAIL_UNKNOWN_OPERATION: &str = "unknown operation";

/// The state of a decky as its agent reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ReportedState {
    /// The decky is being deployed.
    Pending,
    /// The decky runs.
    Running,
    /// The decky runs, but not completely.
    Degraded,
    /// The decky does not run.
    Failed,
}

impl From<ReportedState> for ShardState {
    fn from(state: ReportedState) -> Self {
        match state {
            ReportedState::Pending => Self::Pending,
            ReportedState::Running => Self::Running,
            ReportedState::Degraded => Self::Degraded,
            ReportedState::Failed => Self::Failed,
        }
    }
}

/// One decky in an inventory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct ReportedShard {
    /// The decky.
    pub decky_id: DeckyId,
    /// The state of the decky.
    pub state: ReportedState,
    /// The services of the decky.
    #[serde(default)]
    pub services: Services,
    /// The IP address of the decky, at most 64 characters.
    #[serde(default, deserialize_with = "bounded::<_, 64>")]
    #[cfg_attr(feature = "generate", schemars(length(max = 64)))]
    pub decky_ip: Option<String>,
    /// The labels of the decky.
    #[serde(default)]
    pub labels: Labels,
}

message_type!(
    /// The `type` of `Heartbeat`.
    HeartbeatType = "scuttle.v1.heartbeat"
);

/// Reports that an agent is online, and optionally its inventory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct Heartbeat {
    /// Always `scuttle.v1.heartbeat`.
    #[serde(rename = "type")]
    pub kind: HeartbeatType,
    /// The host of the agent.
    pub host_uuid: HostId,
    /// The version of the agent.
    pub agent_version: Text,
    /// The boot of the agent.
    pub boot_id: BootId,
    /// The number of this report within the boot.
    pub sequence: u64,
    /// Milliseconds between heartbeats, 1 to 3600000. Default: 10000.
    #[serde(
        default = "default_interval",
        deserialize_with = "deserialize_interval"
    )]
    #[cfg_attr(feature = "generate", schemars(range(min = 1, max = 3_600_000)))]
    pub interval_ms: u32,
    /// The number of this page of the inventory, from 1.
    #[serde(default = "first_page", deserialize_with = "deserialize_page")]
    #[cfg_attr(feature = "generate", schemars(range(min = 1, max = MAX_PAGES)))]
    pub page: u32,
    /// The number of pages of the inventory, 1 to 128.
    #[serde(default = "first_page", deserialize_with = "deserialize_page")]
    #[cfg_attr(feature = "generate", schemars(range(min = 1, max = MAX_PAGES)))]
    pub pages: u32,
    /// The inventory. Absent if it has not changed since the last accepted inventory of this boot,
    /// or if it could not be read.
    #[serde(
        default,
        deserialize_with = "optional_objects",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "generate", schemars(length(max = crate::types::limits::MAX_DECKIES_PER_HOST)))]
    pub shards: Option<Vec<ReportedShard>>,
    /// Why the inventory could not be read. Absent if it could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inventory_error: Option<Text>,
}

/// The default interval between heartbeats, in milliseconds.
pub const DEFAULT_INTERVAL_MS: u32 = 10_000;

/// The largest number of pages of an inventory. Enough for 4,096 deckies with the most services and
/// labels that they may have.
pub const MAX_PAGES: u32 = 128;

fn default_interval() -> u32 {
    DEFAULT_INTERVAL_MS
}

fn first_page() -> u32 {
    1
}

fn deserialize_interval<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    match u32::deserialize(deserializer)? {
        millis @ 1..=3_600_000 => Ok(millis),
        _ => Err(serde::de::Error::custom("interval_ms must be 1 to 3600000")),
    }
}

fn deserialize_page<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    match u32::deserialize(deserializer)? {
        pages @ 1..=MAX_PAGES => Ok(pages),
        _ => Err(serde::de::Error::custom(format!(
            "page and pages must be 1 to {MAX_PAGES}"
        ))),
    }
}

/// The reply to a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct HeartbeatAccepted {
    /// Always true.
    #[cfg_attr(feature = "generate", schemars(extend("const" = true)))]
    pub accepted: bool,
    /// Whether the next heartbeat should have the full inventory.
    pub send_inventory: bool,
    /// Whether this heartbeat is older than the last applied report, and so has changed nothing.
    pub stale: bool,
}
