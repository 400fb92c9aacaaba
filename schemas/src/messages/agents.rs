//! Messages between the controller and an agent: commands, progress, results and heartbeats, with
//! the replies to them.

use serde::{Deserialize, Deserializer, Serialize};

use crate::messages::message_type::message_type;
use crate::messages::shards::ShardState;
use crate::types::decode::{is_false, objects, optional_objects};
use crate::types::deployment::Deployment;
use crate::types::ids::{BootId, DeckyId, HostId, OperationId};
use crate::types::labels::{Labels, Services};
use crate::types::text::{Note, Text, bounded};
use crate::types::timestamp::Timestamp;

/// A command from the controller to an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum AgentCommand {
    /// A command to tear down one decky or the whole host.
    #[serde(rename = "scuttle.v1.teardown_command")]
    Teardown(TeardownCommand),
    /// A cancellation of an operation that the agent must not start.
    #[serde(rename = "scuttle.v1.cancel_command")]
    Cancel(CancelCommand),
}

/// A command to an agent: tear down one decky, or the whole host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct TeardownCommand {
    /// The id of the operation. An agent executes an operation once, even if the command is resent.
    pub operation_id: OperationId,
    /// The id of the host on which the agent runs.
    pub host_uuid: HostId,
    /// The id of the decky to tear down, or null for the whole host.
    #[serde(default)]
    pub decky_id: Option<DeckyId>,
    /// The number of times that this command has been sent, including this time.
    pub attempt: u32,
    /// The epoch of the controller that sends the command. An agent ignores a command with a lower
    /// epoch than the highest that it has seen.
    pub controller_epoch: u64,
    /// The deadline of the operation. An agent does not start the operation after this time.
    pub not_after: Timestamp,
    /// Whether to remove deckies with the label `scuttle.protected=true` too, which an agent
    /// otherwise refuses. Default: false.
    #[serde(default, skip_serializing_if = "is_false")]
    pub override_protection: bool,
}

/// A command to an agent: do not start an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct CancelCommand {
    /// The id of the operation that must not start.
    pub operation_id: OperationId,
    /// The id of the host on which the agent runs.
    pub host_uuid: HostId,
    /// The epoch of the controller that sends the command. An agent ignores a command with a lower
    /// epoch than the highest that it has seen.
    pub controller_epoch: u64,
}

/// A step of a teardown, as its agent reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ProgressStep {
    /// The agent has the command, and keeps it until its turn. Commands of the current boot that
    /// are acknowledged in this way are not sent again.
    Received,
    /// The agent has started the teardown.
    Started,
    /// The agent is stopping containers.
    Stopping,
    /// The agent is saving the logs and changed files of stopped containers.
    SavingEvidence,
    /// The agent is removing containers and networks.
    Removing,
    /// The agent is checking that everything is gone.
    Verifying,
}

impl ProgressStep {
    /// Returns the step as it is written in a message, for example `started`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Started => "started",
            Self::Stopping => "stopping",
            Self::SavingEvidence => "saving_evidence",
            Self::Removing => "removing",
            Self::Verifying => "verifying",
        }
    }
}

message_type!(
    /// The value of the `type` field of a [`TeardownProgress`].
    TeardownProgressType = "scuttle.v1.teardown_progress"
);

/// A report on the progress of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct TeardownProgress {
    /// Always `scuttle.v1.teardown_progress`.
    #[serde(rename = "type")]
    pub kind: TeardownProgressType,
    /// The id of the operation that the agent is executing.
    pub operation_id: OperationId,
    /// The id of the agent's current boot. A boot is one run of the agent.
    pub boot_id: BootId,
    /// The step that the agent has reached.
    pub step: ProgressStep,
    /// Whether the step `received` acknowledges a cancel command: the agent will not start the
    /// operation. Absent if it acknowledges a teardown command.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cancelled: bool,
    /// The id of the decky that the agent is working on. Absent if the step is not about a single
    /// decky.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decky_id: Option<DeckyId>,
    /// The number of deckies that are finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<u32>,
    /// The number of deckies to tear down in total.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u32>,
}

/// The outcome of an operation, as its agent reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ResultOutcome {
    /// Everything that the operation covers is gone.
    Succeeded,
    /// Something that the operation covers could not be removed.
    Failed,
}

/// The outcome of an operation for one decky, as the agent reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ReportedOutcome {
    /// The agent removed the decky and verified that it is gone.
    Removed,
    /// The agent found nothing to remove.
    Absent,
    /// The agent could not remove the decky.
    Failed,
}

/// The archive on the agent's host in which an operation saved the logs and changed files of one
/// decky before it removed the decky.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct Evidence {
    /// The path of the archive on the agent's host. At most 1024 characters.
    #[serde(deserialize_with = "deserialize_evidence_path")]
    #[cfg_attr(feature = "generate", schemars(length(max = MAX_EVIDENCE_PATH_CHARS)))]
    pub path: String,
    /// The size of the archive, in bytes.
    pub bytes: u64,
    /// The SHA-256 hash of the archive, as 64 hexadecimal digits in lower case.
    #[serde(deserialize_with = "deserialize_sha256")]
    #[cfg_attr(feature = "generate", schemars(regex(pattern = "^[0-9a-f]{64}$")))]
    pub sha256: String,
}

/// The maximum length of the path of an evidence archive, in characters.
pub const MAX_EVIDENCE_PATH_CHARS: usize = 1024;

fn deserialize_evidence_path<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let path = String::deserialize(from)?;
    if path.chars().count() > MAX_EVIDENCE_PATH_CHARS {
        return Err(serde::de::Error::custom(format!(
            "the path of an evidence archive is longer than {MAX_EVIDENCE_PATH_CHARS} characters"
        )));
    }
    Ok(path)
}

fn deserialize_sha256<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let digits = String::deserialize(from)?;
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if digits.len() != 64 || !digits.bytes().all(is_digit) {
        return Err(serde::de::Error::custom(
            "sha256 must be 64 hexadecimal digits in lower case",
        ));
    }
    Ok(digits)
}

/// The outcome of an operation for one decky, with the error if it failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct ShardResult {
    /// The id of the decky, unique on its host.
    pub decky_id: DeckyId,
    /// What happened to the decky.
    pub outcome: ReportedOutcome,
    /// The reason why the decky could not be removed. Absent or null without a failure.
    #[serde(default)]
    pub error: Option<Text>,
    /// The archive with the logs and changed files of the decky. Absent if none was saved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
}

message_type!(
    /// The value of the `type` field of a [`TeardownResult`].
    TeardownResultType = "scuttle.v1.teardown_result"
);

/// A report that an operation has ended at its agent. The agent repeats the report until the
/// controller replies that the result is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct TeardownResult {
    /// Always `scuttle.v1.teardown_result`.
    #[serde(rename = "type")]
    pub kind: TeardownResultType,
    /// The id of the operation that has ended.
    pub operation_id: OperationId,
    /// The id of the host on which the agent runs.
    pub host_uuid: HostId,
    /// The id of the agent's boot in which the operation ended. A boot is one run of the agent.
    pub boot_id: BootId,
    /// The sequence number of this report within the boot. A later report has a higher number.
    pub sequence: u64,
    /// The outcome of the operation as a whole.
    pub outcome: ResultOutcome,
    /// The reason why the operation failed. Absent or null if it succeeded.
    #[serde(default)]
    pub error: Option<Text>,
    /// The outcome for each decky. Each decky is listed at most once.
    #[serde(default, deserialize_with = "objects")]
    #[cfg_attr(feature = "generate", schemars(length(max = crate::types::limits::MAX_DECKIES_PER_HOST)))]
    pub shards: Vec<ShardResult>,
    /// The time at which the agent started the operation.
    pub started_at: Timestamp,
    /// The time at which the agent finished the operation.
    pub finished_at: Timestamp,
}

/// The reply to a result, after which the agent stops repeating the result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct ResultRecorded {
    /// Always true: the result is durable, or there is nothing to record.
    #[cfg_attr(feature = "generate", schemars(extend("const" = true)))]
    pub recorded: bool,
    /// `unknown operation` if the result matches no operation of its host. Absent otherwise.
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
    /// The decky is running.
    Running,
    /// The decky is not running completely.
    Degraded,
    /// The decky is not running.
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

/// One decky in the inventory of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct ReportedShard {
    /// The id of the decky, unique on its host.
    pub decky_id: DeckyId,
    /// The state of the decky, as the agent sees it.
    pub state: ReportedState,
    /// The names of the decky's services, for example `ssh`.
    #[serde(default)]
    pub services: Services,
    /// The IP address of the decky. At most 64 characters.
    #[serde(default, deserialize_with = "bounded::<_, 64>")]
    #[cfg_attr(feature = "generate", schemars(length(max = 64)))]
    pub decky_ip: Option<String>,
    /// The labels of the decky, as pairs of key and value.
    #[serde(default)]
    pub labels: Labels,
    /// The identity of this deployment of the decky. It changes when the decky is deployed again.
    /// Absent if the agent does not report deployments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<Deployment>,
    /// The reason why the decky is degraded or failed, which names the container. Absent in other
    /// states. It becomes the `last_error` of the shard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Note>,
}

message_type!(
    /// The value of the `type` field of a [`Heartbeat`].
    HeartbeatType = "scuttle.v1.heartbeat"
);

/// A report that an agent is alive, optionally with the inventory of its host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct Heartbeat {
    /// Always `scuttle.v1.heartbeat`.
    #[serde(rename = "type")]
    pub kind: HeartbeatType,
    /// The id of the host on which the agent runs.
    pub host_uuid: HostId,
    /// The version of the agent, which the controller records for operators.
    pub agent_version: Text,
    /// The id of the agent's current boot. A boot is one run of the agent.
    pub boot_id: BootId,
    /// The sequence number of this report within the boot. A later report has a higher number.
    pub sequence: u64,
    /// The time on the host's clock at which the heartbeat was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_at: Option<Timestamp>,
    /// The interval between heartbeats in milliseconds, 1 to 3600000. Default: 10000.
    #[serde(
        default = "default_interval",
        deserialize_with = "deserialize_interval"
    )]
    #[cfg_attr(feature = "generate", schemars(range(min = 1, max = 3_600_000)))]
    pub interval_ms: u32,
    /// The number of this page of the inventory, from 1 to `pages`. Default: 1.
    #[serde(default = "first_page", deserialize_with = "deserialize_page")]
    #[cfg_attr(feature = "generate", schemars(range(min = 1, max = MAX_PAGES)))]
    pub page: u32,
    /// The number of pages of the inventory, 1 to 128. Default: 1.
    #[serde(default = "first_page", deserialize_with = "deserialize_page")]
    #[cfg_attr(feature = "generate", schemars(range(min = 1, max = MAX_PAGES)))]
    pub pages: u32,
    /// The deckies on this page of the inventory. Absent if the inventory has not changed since the
    /// last one of this boot that the controller accepted, or if it could not be read.
    #[serde(
        default,
        deserialize_with = "optional_objects",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "generate", schemars(length(max = crate::types::limits::MAX_DECKIES_PER_HOST)))]
    pub shards: Option<Vec<ReportedShard>>,
    /// The reason why the inventory could not be read. Absent if it could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inventory_error: Option<Text>,
    /// Notes about objects that the agent could not attribute to a decky or had to leave on the
    /// host. At most 32. Absent if empty, and on every page but the first.
    #[serde(
        default,
        deserialize_with = "deserialize_notes",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[cfg_attr(feature = "generate", schemars(length(max = MAX_NOTES)))]
    pub notes: Vec<Note>,
}

/// The maximum number of notes in a heartbeat.
pub const MAX_NOTES: usize = 32;

/// The default interval between heartbeats, in milliseconds.
pub const DEFAULT_INTERVAL_MS: u32 = 10_000;

/// The maximum number of pages of an inventory. They suffice for 4,096 deckies with the maximum
/// number of services and labels.
pub const MAX_PAGES: u32 = 128;

fn default_interval() -> u32 {
    DEFAULT_INTERVAL_MS
}

fn first_page() -> u32 {
    1
}

fn deserialize_notes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Note>, D::Error> {
    let notes = Vec::<Note>::deserialize(deserializer)?;
    if notes.len() > MAX_NOTES {
        return Err(serde::de::Error::custom(format!(
            "notes must be at most {MAX_NOTES}"
        )));
    }
    Ok(notes)
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

/// The reply to a heartbeat that was not rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct HeartbeatAccepted {
    /// Always true. A rejected heartbeat gets an error reply instead.
    #[cfg_attr(feature = "generate", schemars(extend("const" = true)))]
    pub accepted: bool,
    /// Whether the next heartbeat should contain the full inventory.
    pub send_inventory: bool,
    /// Whether the heartbeat was older than the last applied report, and therefore changed nothing.
    pub stale: bool,
    /// Another agent that reports for the same host. With `stale`, it is the agent of the later
    /// boot, whose reports are applied. Absent if the controller knows of no other agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_agent: Option<OtherAgent>,
}

/// Another agent that reports for the same host, in the reply to a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct OtherAgent {
    /// The id of the other agent's boot.
    pub boot_id: BootId,
    /// Whether the other agent has sent no heartbeat for three of its intervals. An agent whose
    /// heartbeat is stale then continues with a new boot id that sorts after this one.
    pub silent: bool,
}

/// The beginning of the note on a host whose clock differs from the controller's. Notes of agents
/// never begin with this text.
pub const CLOCK_SKEW_NOTE: &str = "the clock of this host is";

/// The beginning of the note on a host for which two agents report. Notes of agents never begin
/// with this text.
pub const TWO_AGENTS_NOTE: &str = "two agents report for this host";
