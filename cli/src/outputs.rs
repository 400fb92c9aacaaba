//! What verbs write as JSON where it is no message of the bus. Each has a JSON Schema in `cli/schemas/`, made from these types.

use scuttle_schemas::hosts::HostRecord;
use scuttle_schemas::operations::OperationRecord;
use scuttle_schemas::shards::ShardRecord;
use scuttle_schemas::teardown::{PlanTarget, TeardownAccepted};
use scuttle_schemas::{DeckyId, HostId, HostName, OperationId, Timestamp};
use serde::Serialize;

use crate::failure::Failure;

/// `scuttle init`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Initialised {
    /// The bus directory.
    pub(crate) directory: String,
    /// What nats-server is started with.
    pub(crate) configuration: String,
}

/// `scuttle user add`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct UserAdded {
    /// The user.
    pub(crate) user: String,
    /// `operator` or `viewer`.
    pub(crate) role: &'static str,
    /// The file with the credentials.
    pub(crate) credentials: String,
}

/// `scuttle user remove`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct UserRemoved {
    /// The user.
    pub(crate) user: String,
    /// How many credentials were taken back; 0 where it was removed before.
    pub(crate) revoked: usize,
}

/// `scuttle enroll`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Enrolled {
    /// The host.
    pub(crate) host: HostRecord,
    /// True when it was in the swarm already.
    pub(crate) repeated: bool,
    /// The file with its agent's credentials; null: none were made, since there is no bus directory.
    pub(crate) credentials: Option<String>,
    /// The command that starts its agent.
    pub(crate) start: String,
}

/// `scuttle decommission`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Decommissioned {
    /// The host.
    pub(crate) host_uuid: HostId,
    /// Its name.
    pub(crate) host_name: HostName,
    /// What may remain there.
    pub(crate) detail: String,
    /// The hosts whose credentials were taken back, by their ids.
    pub(crate) revoked: Vec<String>,
}

/// `scuttle teardown --dry-run`; with `-o jsonl` each plan is a line.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Plans {
    /// One for each request.
    pub(crate) plans: Vec<DryRun>,
}

/// What one request would tear down.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct DryRun {
    /// The host.
    pub(crate) host_uuid: HostId,
    /// Its name.
    pub(crate) host_name: HostName,
    /// The decky; null: the whole host.
    pub(crate) decky_id: Option<DeckyId>,
    /// A hash over the targets; null where the request would be refused.
    pub(crate) plan: Option<String>,
    /// What would go.
    pub(crate) targets: Vec<PlanTarget>,
    /// Why the request would be refused.
    pub(crate) refused: Option<Refused>,
}

/// `scuttle teardown` and `scuttle retry`; with `-o jsonl` each teardown is a line.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Teardowns {
    /// One for each request.
    pub(crate) teardowns: Vec<Teardown>,
}

/// What became of one request.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Teardown {
    /// The host.
    pub(crate) host_uuid: HostId,
    /// Its name.
    pub(crate) host_name: HostName,
    /// The decky; null: the whole host.
    pub(crate) decky_id: Option<DeckyId>,
    /// The controller's answer; null where there is none, or a refusal.
    pub(crate) accepted: Option<TeardownAccepted>,
    /// Why there is none.
    pub(crate) refused: Option<Refused>,
    /// With `--wait`: the operation as it ended.
    pub(crate) operation: Option<OperationRecord>,
}

/// Why something was not accepted.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Refused {
    /// The exit code that it would have alone.
    pub(crate) exit_code: u8,
    /// In words.
    pub(crate) message: String,
}

impl From<&Failure> for Refused {
    fn from(failure: &Failure) -> Self {
        Self {
            exit_code: failure.exit_code(),
            message: failure.to_string(),
        }
    }
}

/// `scuttle doctor`; with `-o jsonl` each check is a line.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Diagnosis {
    /// Whether nothing failed.
    pub(crate) healthy: bool,
    /// In the order in which they were made.
    pub(crate) checks: Vec<Finding>,
}

/// One check.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Finding {
    /// What was looked at: `connection`, `server`, `version`, `login`, `permissions`, `controller`, `clock` or
    /// `durability`.
    pub(crate) check: &'static str,
    /// How it is.
    pub(crate) status: FindingStatus,
    /// What was found.
    pub(crate) found: String,
    /// What to do about it; null where nothing is.
    pub(crate) to_do: Option<String>,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub(crate) enum FindingStatus {
    /// As it should be.
    Ok,
    /// It works, and wants a look.
    Warning,
    /// It does not work.
    Failed,
    /// It could not be looked at, because of what failed before.
    Skipped,
}

/// `scuttle watch -o json`: what there is now.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Snapshot<'a> {
    /// When it was written.
    pub(crate) at: Timestamp,
    /// All hosts.
    pub(crate) hosts: Vec<&'a HostRecord>,
    /// All shards.
    pub(crate) shards: Vec<&'a ShardRecord>,
    /// The newest 1,000 operations, without their `shards`.
    pub(crate) operations: Vec<&'a OperationRecord>,
}

/// One line of `scuttle watch -o jsonl`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Event<'a> {
    /// A host as it is now.
    Host {
        /// The broadcast that told it, or the list.
        revision: u64,
        /// The record.
        host: &'a HostRecord,
    },
    /// A shard as it is now.
    Shard {
        /// The broadcast that told it, or the list.
        revision: u64,
        /// The record.
        shard: &'a ShardRecord,
    },
    /// A shard that is gone.
    ShardRemoved {
        /// The broadcast that told it, or the list that has it no more.
        revision: u64,
        /// The host.
        host_uuid: &'a HostId,
        /// The decky.
        decky_id: &'a DeckyId,
    },
    /// An operation as it is now.
    Operation {
        /// The broadcast that told it, or the list.
        revision: u64,
        /// The record, without its `shards`.
        operation: &'a OperationRecord,
    },
    /// An operation that is no longer kept.
    OperationRemoved {
        /// The list that has it no more.
        revision: u64,
        /// The operation.
        operation_id: OperationId,
    },
    /// All lists have been told: what follows are changes.
    Complete {
        /// When.
        at: Timestamp,
    },
    /// Nothing is heard any more; what was told may be old.
    Stale {
        /// Since when.
        since: Timestamp,
        /// Why.
        reason: String,
    },
}

/// `scuttle completions`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Completions {
    /// The shell.
    pub(crate) shell: String,
    /// What the shell is to read.
    pub(crate) script: String,
}

/// `scuttle man`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct ManPages {
    /// Each manual page.
    pub(crate) pages: Vec<ManPage>,
}

/// One manual page.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct ManPage {
    /// Its name: `scuttle-teardown.1`.
    pub(crate) name: String,
    /// Where it was written; null: it is in `text`.
    pub(crate) file: Option<String>,
    /// The page in roff, where no folder was given.
    pub(crate) text: Option<String>,
}
