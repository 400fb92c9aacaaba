//! The targets and options of teardown requests, and the targets of a retry. `nats_client` sends
//! the requests.

use std::fmt::{self, Display, Formatter};

use scuttle_schemas::shards::{ShardRecord, ShardState};
use scuttle_schemas::teardown::TeardownRequest;
use scuttle_schemas::{DeckyId, HostId, HostName, OperationId};

/// The target of a teardown: one decky, or a whole host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) host_uuid: HostId,
    pub(crate) host_name: HostName,
    /// `None` means the whole host.
    pub(crate) decky_id: Option<DeckyId>,
}

impl Display for Target {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&format_target(&self.host_name, self.decky_id.as_ref()))
    }
}

/// Formats a target: `worker-a/decky-03`, or `worker-a` for the whole host.
pub(crate) fn format_target(host: &HostName, decky: Option<&DeckyId>) -> String {
    match decky {
        Some(decky) => format!("{host}/{decky}"),
        None => host.to_string(),
    }
}

/// The options that all targets of one command share.
#[derive(Debug, Clone)]
pub(crate) struct TeardownOptions {
    pub(crate) timeout_s: u32,
    pub(crate) reason: Option<String>,
    /// The plan that the operator has confirmed. The controller rejects the request if the targets
    /// have changed since. `None` accepts any targets.
    pub(crate) expect_plan: Option<String>,
    pub(crate) wait: bool,
}

impl TeardownOptions {
    /// Builds the request for one target.
    pub(crate) fn to_request(&self, target: &Target) -> TeardownRequest {
        TeardownRequest {
            host_uuid: target.host_uuid.clone(),
            decky_id: target.decky_id.clone(),
            timeout_s: self.timeout_s,
            dry_run: false,
            expect_plan: self.expect_plan.clone(),
            reason: self.reason.clone(),
        }
    }
}

/// Selects the shards whose teardown failed in `operation`. If `operation` is `None`, selects all
/// shards whose teardown failed.
///
/// Each decky is retried separately, because retrying the whole host would also remove deckies that
/// have been deployed since.
pub(crate) fn select_retry_targets(
    shards: &[ShardRecord],
    operation: Option<OperationId>,
) -> Vec<Target> {
    let belongs = |shard: &&ShardRecord| operation.is_none_or(|id| shard.operation_id == Some(id));
    let failed = |shard: &&ShardRecord| shard.state == ShardState::TeardownFailed;
    let selected = shards.iter().filter(failed).filter(belongs);
    selected
        .map(|shard| Target {
            host_uuid: shard.host_uuid.clone(),
            host_name: shard.host_name.clone(),
            decky_id: Some(shard.decky_id.clone()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use scuttle_schemas::shards::ShardRecord;
    use serde_json::json;

    use super::select_retry_targets;

    fn shard(decky: &str, state: &str, operation: Option<&str>) -> ShardRecord {
        serde_json::from_value(json!({
            "host_uuid": "h", "host_name": "worker-a", "decky_id": decky, "decky_ip": null, "services": [], "labels": {},
            "state": state, "last_error": null, "operation_id": operation, "last_seen": "2026-11-23T09:11:49.000Z",
            "updated_at": "2026-11-23T09:11:49.000Z", "revision": 1,
        }))
        .expect("a valid shard record")
    }

    #[test]
    fn a_retry_targets_only_shards_whose_teardown_failed() {
        let one = "01997c3e-5f1a-7c80-a2f4-0d6a7b5f1c11";
        let other = "01997c3e-5f1a-7c80-a2f4-0d6a7b5f1c12";
        let shards = [
            shard("failed", "teardown_failed", Some(one)),
            shard("others", "teardown_failed", Some(other)),
            shard("new", "running", None),
            shard("open", "tearing_down", Some(one)),
        ];
        let names = |operation: Option<&str>| {
            let operation = operation.map(|id| id.parse().expect("a valid id"));
            let targets = select_retry_targets(&shards, operation);
            targets.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(names(Some(one)), ["worker-a/failed"]);
        assert_eq!(names(None), ["worker-a/failed", "worker-a/others"]);
    }
}
