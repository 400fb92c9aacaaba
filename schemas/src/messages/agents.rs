//! What agents and controller say to each other: commands, progress, results, heartbeats.

use serde::{Deserialize, Deserializer, Serialize};

use crate::messages::message_type::message_type;
use crate::messages::shards::ShardState;
use crate::types::decode::{objects, optional_objects};
use crate::types::ids::{BootId, DeckyId, HostId, OperationId};
use crate::types::labels::{Labels, Services};
use crate::types::text::Text;
use crate::types::text::bounded;
use crate::types::timestamp::Timestamp;

/// What the controller publishes to an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum AgentCommand {
    /// Tear down.
    #[serde(rename = "scuttle.v1.teardown_command")]
    Teardown(TeardownCommand),
    /// Do not begin.
    #[serde(rename = "scuttle.v1.cancel_command")]
    Cancel(CancelCommand),
}

/// Tears down one decky, or the whole host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct TeardownCommand {
    /// The operation; an agent executes it once.
    pub operation_id: OperationId,
    /// The host.
    pub host_uuid: HostId,
    /// The decky; null: the whole host.
    #[serde(default)]
    pub decky_id: Option<DeckyId>,
    /// Counts the sends of this command, from 1.
    pub attempt: u32,
    /// The sender's epoch; one lower than the highest seen is refused.
    pub controller_epoch: u64,
    /// The operation's deadline.
    pub not_after: Timestamp,
}

/// Withdraws an operation that the agent has not begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct CancelCommand {
    /// The operation.
    pub operation_id: OperationId,
    /// The host.
    pub host_uuid: HostId,
    /// The sender's epoch.
    pub controller_epoch: u64,
}

/// How far an agent is with an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ProgressStep {
    /// Begun.
    Started,
    /// Containers are being stopped.
    Stopping,
    /// Containers and networks are being removed.
    Removing,
    /// Looking again.
    Verifying,
}

impl ProgressStep {
    /// Its name on the wire.
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
    /// `type` of `TeardownProgress`.
    TeardownProgressType = "scuttle.v1.teardown_progress"
);

/// An agent is at work on an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct TeardownProgress {
    /// Always `scuttle.v1.teardown_progress`.
    #[serde(rename = "type")]
    pub kind: TeardownProgressType,
    /// The operation.
    pub operation_id: OperationId,
    /// The agent's boot.
    pub boot_id: BootId,
    /// How far.
    pub step: ProgressStep,
    /// At which decky.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decky_id: Option<DeckyId>,
    /// How many are done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<u32>,
    /// Of how many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u32>,
}

/// How an operation ended at the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ResultOutcome {
    /// Everything is gone.
    Succeeded,
    /// Something is not.
    Failed,
}

/// What became of one shard at the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ReportedOutcome {
    /// Removed; the agent looked again and found nothing.
    Removed,
    /// There was nothing.
    Absent,
    /// It is still there.
    Failed,
}

/// One shard of a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct ShardResult {
    /// The decky.
    pub decky_id: DeckyId,
    /// What became of it.
    pub outcome: ReportedOutcome,
    /// Why it failed.
    #[serde(default)]
    pub error: Option<Text>,
}

message_type!(
    /// `type` of `TeardownResult`.
    TeardownResultType = "scuttle.v1.teardown_result"
);

/// How an operation ended at the agent; repeated until it is answered `recorded`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct TeardownResult {
    /// Always `scuttle.v1.teardown_result`.
    #[serde(rename = "type")]
    pub kind: TeardownResultType,
    /// The operation.
    pub operation_id: OperationId,
    /// The host.
    pub host_uuid: HostId,
    /// The boot that observed this.
    pub boot_id: BootId,
    /// That boot's number for this observation.
    pub sequence: u64,
    /// How it ended.
    pub outcome: ResultOutcome,
    /// Why it failed.
    #[serde(default)]
    pub error: Option<Text>,
    /// The shards, each once.
    #[serde(default, deserialize_with = "objects")]
    #[cfg_attr(feature = "generate", schemars(length(max = crate::types::limits::MAX_DECKIES_PER_HOST)))]
    pub shards: Vec<ShardResult>,
    /// When the agent began.
    pub started_at: Timestamp,
    /// When the agent ended.
    pub finished_at: Timestamp,
}

/// The answer to a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct ResultRecorded {
    /// Always true: it is on disk, or there is nothing to keep.
    #[cfg_attr(feature = "generate", schemars(extend("const" = true)))]
    pub recorded: bool,
    /// `unknown operation`, where that is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// `detail` of a result that matches no operation of its host.
pub const DETAIL_UNKNOWN_OPERATION: &str = "unknown operation";

/// The state of a decky as its agent sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ReportedState {
    /// Being deployed.
    Pending,
    /// Up.
    Running,
    /// Not as it should be.
    Degraded,
    /// Down.
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

/// One decky of an inventory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct ReportedShard {
    /// The decky.
    pub decky_id: DeckyId,
    /// Its state.
    pub state: ReportedState,
    /// Its services.
    #[serde(default)]
    pub services: Services,
    /// Its address, at most 64 characters.
    #[serde(default, deserialize_with = "bounded::<_, 64>")]
    #[cfg_attr(feature = "generate", schemars(length(max = 64)))]
    pub decky_ip: Option<String>,
    /// Its labels.
    #[serde(default)]
    pub labels: Labels,
}

message_type!(
    /// `type` of `Heartbeat`.
    HeartbeatType = "scuttle.v1.heartbeat"
);

/// An agent is alive, and what it sees on its host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct Heartbeat {
    /// Always `scuttle.v1.heartbeat`.
    #[serde(rename = "type")]
    pub kind: HeartbeatType,
    /// The host.
    pub host_uuid: HostId,
    /// The agent's version.
    pub agent_version: Text,
    /// The agent's boot.
    pub boot_id: BootId,
    /// That boot's number for this observation.
    pub sequence: u64,
    /// Milliseconds between heartbeats, 1 to 3600000; 10000 if absent.
    #[serde(default = "default_interval", deserialize_with = "interval")]
    #[cfg_attr(feature = "generate", schemars(range(min = 1, max = 3_600_000)))]
    pub interval_ms: u32,
    /// Which page of the inventory this is, from 1.
    #[serde(default = "one", deserialize_with = "pages")]
    #[cfg_attr(feature = "generate", schemars(range(min = 1, max = MAX_PAGES)))]
    pub page: u32,
    /// How many pages the inventory has, 1 to 128.
    #[serde(default = "one", deserialize_with = "pages")]
    #[cfg_attr(feature = "generate", schemars(range(min = 1, max = MAX_PAGES)))]
    pub pages: u32,
    /// The inventory; absent: unchanged since the last accepted one of this boot, or it could not be read.
    #[serde(
        default,
        deserialize_with = "optional_objects",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "generate", schemars(length(max = crate::types::limits::MAX_DECKIES_PER_HOST)))]
    pub shards: Option<Vec<ReportedShard>>,
    /// Why the inventory could not be read; absent: it could.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inventory_error: Option<Text>,
}

/// Milliseconds between heartbeats where an agent is not told otherwise.
pub const DEFAULT_INTERVAL_MS: u32 = 10_000;

/// The most pages of an inventory: the largest possible one (4,096 deckies with all their services and
/// labels) fits.
pub const MAX_PAGES: u32 = 128;

fn default_interval() -> u32 {
    DEFAULT_INTERVAL_MS
}

fn one() -> u32 {
    1
}

fn interval<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    match u32::deserialize(deserializer)? {
        millis @ 1..=3_600_000 => Ok(millis),
        _ => Err(serde::de::Error::custom("interval_ms must be 1 to 3600000")),
    }
}

fn pages<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    match u32::deserialize(deserializer)? {
        pages @ 1..=MAX_PAGES => Ok(pages),
        _ => Err(serde::de::Error::custom(format!(
            "page and pages must be 1 to {MAX_PAGES}"
        ))),
    }
}

/// The answer to a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct HeartbeatAccepted {
    /// Always true.
    #[cfg_attr(feature = "generate", schemars(extend("const" = true)))]
    pub accepted: bool,
    /// Send the whole inventory next time.
    pub send_inventory: bool,
    /// This report is older than one already applied, and changed nothing.
    pub stale: bool,
}
