//! `swarm.hosts.decommission`: removing a host from the swarm.

use scuttle_schemas::hosts::{DecommissionAccepted, EnrollAccepted, HostStatus};
use scuttle_schemas::operations::OperationState;
use scuttle_schemas::{ErrorCode, subjects};
use scuttle_tests::{Cluster, ExpectRejection, TestResult};
use serde_json::json;

/// With `force`, the shards of the host leave the record, and its open operation fails.
#[tokio::test]
async fn a_host_is_decommissioned_by_force_and_enrolled_again() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let open = cluster.operator.tear_down(&agent.host, "decky-1").await?;
    let decommission = async |force: bool| {
        let request = json!({ "host_uuid": agent.host, "force": force });
        cluster
            .operator
            .request::<DecommissionAccepted>(subjects::HOSTS_DECOMMISSION, &request)
            .await
    };
    assert_eq!(
        decommission(false).await.expect_rejection().code,
        ErrorCode::BadRequest
    );
    let decommissioned = decommission(true).await?;
    assert_eq!(decommissioned.host.status, HostStatus::Decommissioned);
    assert!(
        decommissioned.detail.contains("may still be running"),
        "{}",
        decommissioned.detail
    );
    assert_eq!(
        decommission(true).await.expect_rejection().code,
        ErrorCode::HostDecommissioned
    );
    assert_eq!(cluster.operator.list_shards().await?, []);
    let operation = cluster.operator.operation(open.operation_id).await?;
    assert_eq!(operation.state, OperationState::Failed);
    let heartbeat = agent.report_inventory(&["decky-1"]).await;
    assert_eq!(
        heartbeat.expect_rejection().code,
        ErrorCode::HostDecommissioned
    );
    let rejection = cluster.operator.tear_down(&agent.host, None).await;
    assert_eq!(
        rejection.expect_rejection().code,
        ErrorCode::HostDecommissioned
    );

    let request = json!({ "name": "worker-a", "host_uuid": agent.host });
    let enrolled: EnrollAccepted = cluster
        .operator
        .request(subjects::HOSTS_ENROLL, &request)
        .await?;
    assert!(!enrolled.repeated);
    agent.report_inventory(&["decky-1"]).await?;
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "decky-1 running"
    );
    Ok(())
}
