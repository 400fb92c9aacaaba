//! The header `Nats-Msg-Id`, which makes a request idempotent.

use async_nats::HeaderMap;
use scuttle_schemas::teardown::TeardownAccepted;
use scuttle_schemas::{ErrorCode, headers, subjects};
use scuttle_tests::{Cluster, ExpectRejection, TestResult};
use serde_json::json;

fn key_header(key: &str) -> HeaderMap {
    let mut map = HeaderMap::new();
    map.insert(headers::MSG_ID, key);
    map
}

/// A client that got no reply sends the request again with the same key. The repeat does not tear
/// down a decky that has since been redeployed, not even after a restart of the controller.
#[tokio::test]
async fn a_request_is_repeated_with_its_idempotency_key_without_a_second_effect() -> TestResult {
    let mut cluster = Cluster::start().await?;
    let mut agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let request = json!({ "host_uuid": agent.host, "decky_id": "decky-1" });
    let request_with_key = async |cluster: &Cluster, key: &str, request: &serde_json::Value| {
        let headers = key_header(key);
        let operator = &cluster.operator;
        operator
            .request_with_headers::<TeardownAccepted>(subjects::TEARDOWN, headers, request)
            .await
    };
    let first = request_with_key(&cluster, "rotation-7", &request).await?;
    assert!(!first.repeated);
    agent
        .report_success(first.operation_id, &["decky-1"])
        .await?;
    agent.report_inventory(&["decky-1"]).await?;
    for crashed in [false, true] {
        if crashed {
            cluster.crash_controller().await?;
        }
        let again = request_with_key(&cluster, "rotation-7", &request).await?;
        let same = TeardownAccepted {
            repeated: true,
            ..first.clone()
        };
        assert_eq!(again, same, "crashed: {crashed}");
        let other_request = json!({ "host_uuid": agent.host });
        let conflict = request_with_key(&cluster, "rotation-7", &other_request).await;
        assert_eq!(
            conflict.expect_rejection().code,
            ErrorCode::IdempotencyConflict
        );
        for bad in ["", &"k".repeat(129)] {
            let rejection = request_with_key(&cluster, bad, &request).await;
            assert_eq!(rejection.expect_rejection().code, ErrorCode::BadRequest);
        }
    }
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "decky-1 running"
    );
    assert_eq!(cluster.operator.list_operations().await?.len(), 1);
    Ok(())
}
