//! `swarm.operations.cancel`: cancelling a queued operation.

use scuttle_schemas::operations::{CancelAccepted, OperationState};
use scuttle_schemas::{ErrorCode, subjects};
use scuttle_tests::{Cluster, ExpectRejection, TestResult};
use serde_json::json;

/// The shards return to the state that their agent reported, and the agent receives a cancel
/// command. A second cancel request is rejected.
#[tokio::test]
async fn a_queued_operation_is_cancelled_once() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let accepted = cluster.operator.tear_down(&agent.host, None).await?;
    agent.next_command().await?;

    let request = json!({ "operation_id": accepted.operation_id });
    let reply: CancelAccepted = cluster
        .operator
        .request(subjects::OPERATIONS_CANCEL, &request)
        .await?;
    assert!(reply.accepted);
    assert_eq!(reply.operation.state, OperationState::Cancelled);
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "decky-1 running"
    );
    let command = agent.next_cancel_command().await?;
    assert_eq!(command.operation_id, accepted.operation_id);
    assert_eq!(command.host_uuid, agent.host);

    let again = cluster
        .operator
        .request::<CancelAccepted>(subjects::OPERATIONS_CANCEL, &request)
        .await;
    assert_eq!(again.expect_rejection().code, ErrorCode::NotCancellable);
    // The agent had started it all the same. The record follows what the agent did.
    agent
        .report_success(accepted.operation_id, &["decky-1"])
        .await?;
    assert_eq!(cluster.operator.shard_states(&agent.host).await?, "");
    let operation = cluster.operator.operation(accepted.operation_id).await?;
    assert_eq!(operation.state, OperationState::Succeeded);
    Ok(())
}
