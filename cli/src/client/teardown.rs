//! The targets, options and plans of teardown requests, and the retry of failed teardowns.

use std::fmt::{self, Display, Formatter};

use scuttle_schemas::shards::{ShardRecord, ShardState};
use scuttle_schemas::teardown::{
    DEFAULT_TIMEOUT_S, PlanTarget, TeardownAccepted, TeardownPlan, TeardownRequest,
};
use scuttle_schemas::{
    DeckyId, Deployment, ErrorCode, ErrorReply, HostId, HostName, OperationId, subjects,
};

use crate::client::client_error::ClientError;
use crate::client::nats_client::Client;

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
        let host = format_host(&self.host_name, &self.host_uuid);
        match &self.decky_id {
            Some(decky) => write!(f, "{decky} on {host}"),
            None => f.write_str(&host),
        }
    }
}

/// Formats a host for a question or an answer: its name, and its id if that differs from the name.
pub(crate) fn format_host(name: &HostName, id: &HostId) -> String {
    if name.as_str() == id.as_str() {
        name.to_string()
    } else {
        format!("{name} ({id})")
    }
}

/// Formats a target for a table: `worker-a/decky-03`, or `worker-a` for the whole host.
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
    /// Whether to tear down protected deckies too.
    pub(crate) override_protection: bool,
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
            override_protection: self.override_protection,
        }
    }
}

/// A host id that no host has.
const NONEXISTENT_HOST: &str = "scuttle-asks-for-a-host-that-does-not-exist";

/// Checks whether the user may request teardowns, with a dry run for a host that does not exist.
/// The request passes the NATS server if there is a controller to reject it, or none at all.
///
/// # Errors
/// [`ClientError::PermissionDenied`] if the user may not, or another error if that is unknown.
pub(crate) async fn check_may_tear_down(client: &Client) -> Result<(), ClientError> {
    let host = NONEXISTENT_HOST.parse().expect("a valid host id");
    match request_plan(client, &host, None).await {
        Err(ClientError::Rejected(_) | ClientError::NoController { .. }) | Ok(_) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Returns the plan of the teardown of a decky, or of the whole host if `decky` is `None`.
pub(crate) async fn request_plan(
    client: &Client,
    host: &HostId,
    decky: Option<&DeckyId>,
) -> Result<TeardownPlan, ClientError> {
    let request = TeardownRequest {
        host_uuid: host.clone(),
        decky_id: decky.cloned(),
        timeout_s: DEFAULT_TIMEOUT_S,
        dry_run: true,
        expect_plan: None,
        reason: None,
        override_protection: false,
    };
    client.request(subjects::TEARDOWN, &request).await
}

/// Requests another teardown of a decky whose teardown failed.
///
/// # Errors
/// If the request fails, or if the decky was deployed again since the teardown failed. The operator
/// did not ask to remove the new deployment.
pub(crate) async fn retry_teardown(
    client: &Client,
    failed: &FailedDecky,
    options: &TeardownOptions,
) -> Result<TeardownAccepted, ClientError> {
    let Target {
        host_uuid,
        decky_id,
        ..
    } = &failed.target;
    let plan = request_plan(client, host_uuid, decky_id.as_ref()).await?;
    let is_same = |target: &PlanTarget| {
        target.state == ShardState::TeardownFailed && target.deployment == failed.deployment
    };
    if !plan.targets.iter().all(is_same) {
        return Err(ClientError::Rejected(ErrorReply::new(
            ErrorCode::PlanChanged,
            "the decky has changed since its teardown failed: `scuttle shards` shows its state, and \
             `scuttle teardown` removes it",
        )));
    }
    let options = TeardownOptions {
        expect_plan: Some(plan.plan),
        ..options.clone()
    };
    let request = options.to_request(&failed.target);
    client
        .request_idempotent(subjects::TEARDOWN, &request)
        .await
}

/// A decky whose teardown failed.
#[derive(Debug, Clone)]
pub(crate) struct FailedDecky {
    pub(crate) target: Target,
    /// The deployment that could not be torn down, or `None` if its agent does not report one.
    deployment: Option<Deployment>,
}

/// Selects the shards whose teardown failed in `operation`. If `operation` is `None`, selects all
/// shards whose teardown failed.
///
/// Each decky is retried separately, because retrying the whole host would also remove deckies that
/// have been deployed since.
pub(crate) fn select_retry_targets(
    shards: &[ShardRecord],
    operation: Option<OperationId>,
) -> Vec<FailedDecky> {
    let belongs = |shard: &&ShardRecord| operation.is_none_or(|id| shard.operation_id == Some(id));
    let failed = |shard: &&ShardRecord| shard.state == ShardState::TeardownFailed;
    let selected = shards.iter().filter(failed).filter(belongs);
    selected
        .map(|shard| FailedDecky {
            target: Target {
                host_uuid: shard.host_uuid.clone(),
                host_name: shard.host_name.clone(),
                decky_id: Some(shard.decky_id.clone()),
            },
            deployment: shard.deployment.clone(),
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
            let names = targets.iter().map(|failed| failed.target.to_string());
            names.collect::<Vec<_>>()
        };
        assert_eq!(names(Some(one)), ["failed on worker-a (h)"]);
        let all = ["failed on worker-a (h)", "others on worker-a (h)"];
        assert_eq!(names(None), all);
    }
}
