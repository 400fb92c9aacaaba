//! The field `waiting_for` of an open operation: the reason why a teardown does not progress.

use scuttle_tests::{Cluster, TestResult};

#[tokio::test]
async fn an_open_operation_has_the_reason_why_it_waits() -> TestResult {
    let cluster = Cluster::start().await?;
    let host = cluster.enroll_host("worker-a").await?;
    let accepted = cluster.operator.tear_down(&host, None).await?;
    let operation = cluster.operator.operation(accepted.operation_id).await?;
    let waiting = operation.waiting_for.expect("the operation is open");
    assert_eq!(waiting.what, "agent");
    assert!(
        waiting.detail.contains("no heartbeat"),
        "{}",
        waiting.detail
    );
    assert_eq!(waiting.since, operation.accepted_at);
    assert_eq!(waiting.next_attempt_at, None, "the host is not online");
    Ok(())
}
