//! `override_protection`: the command to the agent carries it.

use scuttle_schemas::teardown::TeardownAccepted;
use scuttle_schemas::{ErrorCode, headers, subjects};
use scuttle_tests::{Cluster, ExpectRejection, TestResult};
use serde_json::json;

#[tokio::test]
async fn every_copy_of_a_command_carries_the_override_also_after_a_crash() -> TestResult {
    let mut cluster = Cluster::start().await?;
    let mut agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let request =
        json!({ "host_uuid": agent.host, "decky_id": "decky-1", "override_protection": true });
    let accepted: TeardownAccepted = cluster
        .operator
        .request(subjects::TEARDOWN, &request)
        .await?;
    let (first, _) = agent.next_delivery().await?;
    assert_eq!(first.operation_id, accepted.operation_id);
    assert!(first.override_protection);
    cluster.crash_controller().await?;
    agent.reboot();
    agent.report_inventory(&["decky-1"]).await?;
    loop {
        let (again, _) = agent.next_delivery().await?;
        assert!(again.override_protection);
        if again.controller_epoch > first.controller_epoch {
            return Ok(());
        }
    }
}

#[tokio::test]
async fn a_command_without_the_override_has_no_such_field() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    cluster.operator.tear_down(&agent.host, "decky-1").await?;
    let command = agent.next_command().await?;
    assert!(!command.override_protection);
    let text = serde_json::to_string(&command)?;
    assert!(!text.contains("override_protection"), "{text}");
    Ok(())
}

#[tokio::test]
async fn a_key_belongs_to_a_request_with_the_same_override() -> TestResult {
    let cluster = Cluster::start().await?;
    let agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let mut map = async_nats::HeaderMap::new();
    map.insert(headers::MSG_ID, "k1");
    let plain = json!({ "host_uuid": agent.host, "decky_id": "decky-1" });
    let first: TeardownAccepted = cluster
        .operator
        .request_with_headers(subjects::TEARDOWN, map.clone(), &plain)
        .await?;
    assert!(!first.repeated);
    let overriding =
        json!({ "host_uuid": agent.host, "decky_id": "decky-1", "override_protection": true });
    let other = cluster
        .operator
        .request_with_headers::<TeardownAccepted>(subjects::TEARDOWN, map, &overriding)
        .await;
    assert_eq!(
        other.expect_rejection().code,
        ErrorCode::IdempotencyConflict
    );
    Ok(())
}
