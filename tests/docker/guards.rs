//! Teardowns that the service or the agent refuses: of a decky that was deployed again since the
//! dry run, and of a protected decky.

use scuttle_schemas::operations::OperationState;
use scuttle_schemas::{ErrorCode, subjects};
use scuttle_tests::cluster::docker_host::{DockerHost, TRAP};
use scuttle_tests::servers::dockerd::{Daemon, MANAGED, STOPS_ON_SIGTERM};
use scuttle_tests::{ExpectRejection, TestResult};
use serde_json::{Value, json};

use crate::teardown::shard_error;

const REDEPLOY: [&str; 3] = ["up", "--detach", "--force-recreate"];

/// The decky is deployed again between the dry run and the teardown.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn a_plan_is_rejected_after_a_redeployment() -> TestResult {
    let daemon = Daemon::start().await?;
    daemon.compose("trap", TRAP, &["up", "--detach"]).await?;
    let stage = DockerHost::start(daemon, &["--heartbeat-ms", "300"]).await?;
    stage.wait_for_states("trap running").await?;
    let tear_down = async |more: Value| {
        let mut request = json!({ "host_uuid": stage.host(), "decky_id": "trap" });
        if let (Some(request), Value::Object(more)) = (request.as_object_mut(), more) {
            request.extend(more);
        }
        let operator = &stage.cluster.operator;
        operator
            .request::<Value>(subjects::TEARDOWN, &request)
            .await
    };
    let dry_run = tear_down(json!({ "dry_run": true })).await?;
    stage.daemon.compose("trap", TRAP, &REDEPLOY).await?;
    stage.wait_for_heartbeat().await?;
    stage.wait_for_heartbeat().await?;
    stage.wait_for_states("trap running").await?;
    let planned = tear_down(json!({ "expect_plan": dry_run["plan"] })).await;
    assert_eq!(planned.expect_rejection().code, ErrorCode::PlanChanged);
    let running = stage.daemon.running_containers().await?;
    assert_eq!(running, "trap-http_proxy-1 trap-ssh-1");

    let dry_run = tear_down(json!({ "dry_run": true })).await?;
    let deployment = &dry_run["targets"][0]["deployment"];
    assert!(deployment.is_string(), "{dry_run}");
    let shard = stage.find_shard_json("trap").await?;
    assert_eq!(shard["deployment"], *deployment);
    tear_down(json!({ "expect_plan": dry_run["plan"] })).await?;
    stage.wait_for_states("").await?;
    assert_eq!(stage.daemon.containers().await?, "");
    Ok(())
}

/// A container that dies and starts again is the same deployment.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn a_restart_is_not_a_new_deployment() -> TestResult {
    let daemon = Daemon::start().await?;
    daemon.compose("trap", TRAP, &["up", "--detach"]).await?;
    let mut stage = DockerHost::start(daemon, &["--heartbeat-ms", "300"]).await?;
    stage.wait_for_states("trap running").await?;
    let deployment = stage.find_shard_json("trap").await?["deployment"].clone();
    assert!(deployment.is_string(), "{deployment}");
    stage.daemon.docker(&["kill", "trap-ssh-1"]).await?;
    stage.wait_for_states("trap degraded").await?;
    stage.daemon.docker(&["start", "trap-ssh-1"]).await?;
    stage.wait_for_states("trap running").await?;
    stage.restart_agent().await?;
    stage.wait_for_heartbeat().await?;
    let shard = stage.find_shard_json("trap").await?;
    assert_eq!(shard["deployment"], deployment);
    Ok(())
}

/// The new deployment replaces the failure on record.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn a_redeployment_ends_the_failure_of_the_last_one() -> TestResult {
    let daemon = Daemon::start().await?;
    daemon.compose("trap", TRAP, &["up", "--detach"]).await?;
    daemon.run_foreign("foreign", "trap_default").await?;
    let stage = DockerHost::start(daemon, &[]).await?;
    stage.wait_for_states("trap running").await?;
    let id = stage.start_teardown("trap").await?;
    let operation = stage.wait_for_end(id).await?;
    assert_eq!(operation.state, OperationState::Failed, "{operation:?}");
    stage.wait_for_states("trap teardown_failed").await?;
    stage.daemon.compose("trap", TRAP, &REDEPLOY).await?;
    stage.wait_for_states("trap running").await
}

/// The controller rejects the teardown of a decky whose label protects it, and of its host. A
/// request that overrides the protection removes the decky.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn a_protected_decky_is_removed_only_by_an_override() -> TestResult {
    let daemon = Daemon::start().await?;
    daemon
        .run("vault", "vault", &protected(), &STOPS_ON_SIGTERM)
        .await?;
    daemon.run("vault", "guard", &[], &STOPS_ON_SIGTERM).await?;
    daemon
        .run("trap", "bait", &MANAGED, &STOPS_ON_SIGTERM)
        .await?;
    let stage = DockerHost::start(daemon, &[]).await?;
    stage.wait_for_states("trap running, vault running").await?;
    let shard = stage.find_shard_json("vault").await?;
    assert_eq!(shard["labels"]["scuttle.protected"], "true", "{shard}");
    assert_eq!(shard["protected"], true, "{shard}");

    for decky in [None, Some("vault")] {
        let rejected = stage.cluster.operator.tear_down(stage.host(), decky).await;
        let rejection = rejected.expect_rejection();
        assert_eq!(rejection.code, ErrorCode::Protected);
        assert!(rejection.message.contains("vault"), "{rejection:?}");
    }
    let running = stage.daemon.running_containers().await?;
    assert_eq!(running, "bait guard vault");
    let request = json!({ "override_protection": true });
    let operation = stage.tear_down_with(request).await?;
    assert_eq!(operation.state, OperationState::Succeeded, "{operation:?}");
    stage.wait_for_states("").await?;
    assert_eq!(stage.daemon.containers().await?, "");
    Ok(())
}

/// The agent looks at the label before it removes a decky, and does not even stop a protected one.
/// The label is new: the controller accepts the teardown because it does not know the label yet.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn an_agent_refuses_a_decky_whose_label_the_controller_does_not_know() -> TestResult {
    let daemon = Daemon::start().await?;
    daemon
        .run("vault", "vault", &MANAGED, &STOPS_ON_SIGTERM)
        .await?;
    let mut stage = DockerHost::start(daemon, &[]).await?;
    stage.wait_for_states("vault running").await?;
    stage.agent.kill().await?;
    stage.daemon.docker(&["rm", "--force", "vault"]).await?;
    stage
        .daemon
        .run("vault", "vault", &protected(), &STOPS_ON_SIGTERM)
        .await?;
    let accepted = stage.cluster.operator.tear_down(stage.host(), None).await?;
    stage.restart_agent().await?;
    let operation = stage.wait_for_end(accepted.operation_id).await?;
    assert_eq!(operation.state, OperationState::Failed, "{operation:?}");
    let error = shard_error(&operation);
    let expected = "protected by the label scuttle.protected=true";
    assert!(error.contains(expected), "{error}");
    assert_eq!(stage.daemon.running_containers().await?, "vault");
    Ok(())
}

/// Returns the flags of a container whose decky is protected.
fn protected() -> Vec<&'static str> {
    [&MANAGED[..], &["--label", "scuttle.protected=true"]].concat()
}
