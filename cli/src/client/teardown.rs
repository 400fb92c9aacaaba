//! The targets, options and plans of teardown requests, and the retry of failed teardowns.

use std::fmt::{self, Display, Formatter};

use futures_util::stream::{self, StreamExt};
use scuttle_schemas::shards::{ShardRecord, ShardState};
use scuttle_schemas::teardown::{
    DEFAULT_TIMEOUT_S, PlanTarget, TeardownAccepted, TeardownPlan, TeardownRequest,
};
use scuttle_schemas::{
    DeckyId, Deployment, ErrorCode, ErrorReply, HostId, HostName, OperationId, subjects,
};
use serde::de::DeserializeOwned;

use crate::client::client_error::ClientError;
use crate::client::lists;
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

/// A decky id that no decky has.
const NONEXISTENT_DECKY: &str = "scuttle-asks-for-a-decky-that-does-not-exist";

/// The maximum number of hosts for which the permission to tear down is tried.
const MAX_TRIED_HOSTS: usize = 500;

/// The number of hosts that are tried at the same time. Lower than the number of connection events
/// that are buffered, because each denial is an event.
const TRIED_AT_ONCE: usize = 16;

/// The hosts on which a user may tear down.
#[derive(Debug)]
pub(crate) enum TeardownPermission {
    AllHosts,
    /// Only these hosts. Of a large swarm, only the first [`MAX_TRIED_HOSTS`] hosts were tried.
    Hosts(Vec<HostName>),
    /// No host. The error is the server's denial of a teardown.
    Denied(ClientError),
}

/// Finds out on which hosts the user may tear down, with dry runs for a host or a decky that does
/// not exist. A dry run passes the NATS server if there is a controller to reject it, or none at
/// all.
///
/// # Errors
/// If the permission is unknown, because a request gets no reply.
pub(crate) async fn query_teardown_permission(
    client: &Client,
) -> Result<TeardownPermission, ClientError> {
    let host = NONEXISTENT_HOST.parse().expect("a valid host id");
    let request = dry_run_request(&host, None);
    let reply = client.request::<TeardownPlan>(subjects::TEARDOWN, &request);
    let denied = match reply.await {
        Err(ClientError::Rejected(_) | ClientError::NoController { .. }) | Ok(_) => {
            return Ok(TeardownPermission::AllHosts);
        }
        Err(denied @ ClientError::PermissionDenied { .. }) => denied,
        Err(error) => return Err(error),
    };
    let hosts = find_permitted_hosts(client).await;
    Ok(match hosts {
        Ok(hosts) if !hosts.is_empty() => TeardownPermission::Hosts(hosts),
        _ => TeardownPermission::Denied(denied),
    })
}

/// Returns the hosts on whose subjects the user may request teardowns, sorted by name.
async fn find_permitted_hosts(client: &Client) -> Result<Vec<HostName>, ClientError> {
    let hosts = lists::list_hosts(client).await?.hosts;
    let decky = NONEXISTENT_DECKY.parse().expect("a valid decky id");
    let tries = hosts.into_iter().take(MAX_TRIED_HOSTS).map(|host| {
        let request = dry_run_request(&host.host_uuid, Some(&decky));
        async move {
            let subject = subjects::host_teardown_subject(&host.host_uuid);
            let reply = client.request::<TeardownPlan>(&subject, &request).await;
            matches!(reply, Ok(_) | Err(ClientError::Rejected(_))).then_some(host.name)
        }
    });
    let permitted = stream::iter(tries).buffered(TRIED_AT_ONCE);
    let permitted = permitted.filter_map(std::future::ready);
    let mut names: Vec<_> = permitted.collect().await;
    names.sort_unstable();
    Ok(names)
}

/// Sends a teardown request on the subject on which the user may publish.
///
/// `swarm.teardown` comes first, because earlier controllers and bus directories know no other
/// subject. The server denies it without a reply for a user who is limited to hosts, so nothing is
/// sent twice.
async fn send_on_permitted_subject<A: DeserializeOwned>(
    client: &Client,
    request: &TeardownRequest,
) -> Result<A, ClientError> {
    let denied = match send(client, subjects::TEARDOWN, request).await {
        Err(denied @ ClientError::PermissionDenied { .. }) => denied,
        reply => return reply,
    };
    let subject = subjects::host_teardown_subject(&request.host_uuid);
    match send(client, &subject, request).await {
        Err(ClientError::PermissionDenied { user, .. }) => {
            let permitted = client.permitted_hosts().get_or_init(|| async {
                let hosts = find_permitted_hosts(client).await;
                hosts.unwrap_or_default()
            });
            match permitted.await {
                hosts if hosts.is_empty() => Err(denied),
                hosts => Err(ClientError::OtherHost {
                    user,
                    hosts: hosts.clone(),
                }),
            }
        }
        reply => reply,
    }
}

/// Sends a teardown request that must not take effect twice.
pub(crate) async fn request_teardown(
    client: &Client,
    request: &TeardownRequest,
) -> Result<TeardownAccepted, ClientError> {
    send_on_permitted_subject(client, request).await
}

async fn send<A: DeserializeOwned>(
    client: &Client,
    subject: &str,
    request: &TeardownRequest,
) -> Result<A, ClientError> {
    if request.dry_run {
        client.request(subject, request).await
    } else {
        client.request_idempotent(subject, request).await
    }
}

/// Returns the plan of the teardown of a decky, or of the whole host if `decky` is `None`.
pub(crate) async fn request_plan(
    client: &Client,
    host: &HostId,
    decky: Option<&DeckyId>,
) -> Result<TeardownPlan, ClientError> {
    send_on_permitted_subject(client, &dry_run_request(host, decky)).await
}

fn dry_run_request(host: &HostId, decky: Option<&DeckyId>) -> TeardownRequest {
    TeardownRequest {
        host_uuid: host.clone(),
        decky_id: decky.cloned(),
        timeout_s: DEFAULT_TIMEOUT_S,
        dry_run: true,
        expect_plan: None,
        reason: None,
        override_protection: false,
    }
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
    request_teardown(client, &options.to_request(&failed.target)).await
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
