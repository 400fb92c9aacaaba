//! `swarm.teardown.<host_uuid>`, which is `swarm.teardown` with the host in the subject.

use async_nats::HeaderMap;
use scuttle_schemas::teardown::{TeardownAccepted, TeardownPlan};
use scuttle_schemas::{ErrorCode, ErrorReplyBody, HostId, headers, subjects};
use scuttle_tests::{Cluster, ExpectRejection, Role, TestResult};
use serde_json::{Value, json};

fn with_key(key: &str) -> HeaderMap {
    let mut map = HeaderMap::new();
    map.insert(headers::MSG_ID, key);
    map
}

#[tokio::test]
async fn a_teardown_on_the_subject_of_its_host_needs_no_host_in_its_body() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster
        .start_agent("worker-a", &["decky-1", "decky-2"])
        .await?;
    let operator = &cluster.operator;
    let subject = subjects::host_teardown_subject(&agent.host);
    let dry_run = json!({ "dry_run": true });
    let plan: TeardownPlan = operator.request(&subject, &dry_run).await?;
    assert_eq!(plan.total, 2);
    for (body, decky) in [
        (json!({ "decky_id": "decky-1" }), Some("decky-1")),
        (json!({ "host_uuid": null, "expect_plan": plan.plan }), None),
    ] {
        let accepted: TeardownAccepted = operator.request(&subject, &body).await?;
        assert_eq!(accepted.host_uuid, agent.host);
        let accepted_decky = accepted
            .decky_id
            .as_ref()
            .map(scuttle_schemas::DeckyId::as_str);
        assert_eq!(accepted_decky, decky);
        let command = agent.next_command().await?;
        assert_eq!(command.operation_id, accepted.operation_id);
        let operation = operator.operation(accepted.operation_id).await?;
        assert_eq!(operation.requested_by, Role::Operator.user());
    }
    let again: TeardownAccepted = operator.request(&subject, &json!({})).await?;
    assert!(again.repeated, "{again:?}");
    // An empty message, perhaps sent by mistake, is not the teardown of a whole host.
    let reply = operator.request_raw(&subject, HeaderMap::new(), "").await?;
    let error: ErrorReplyBody = serde_json::from_slice(&reply.payload)?;
    assert_eq!(error.error.code, ErrorCode::BadRequest, "{error:?}");
    Ok(())
}

#[tokio::test]
async fn a_body_that_names_another_host_than_the_subject_is_rejected() -> TestResult {
    let cluster = Cluster::start().await?;
    let agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let other = cluster.start_agent("worker-b", &["decky-1"]).await?;
    let operator = &cluster.operator;
    let own = subjects::host_teardown_subject(&agent.host);
    let same = json!({ "host_uuid": agent.host, "decky_id": "decky-1", "dry_run": true });
    operator.request::<TeardownPlan>(&own, &same).await?;
    let with_token = |token: &str| subjects::HOST_TEARDOWNS.replace('*', token);
    let same_host = json!({ "host_uuid": agent.host });
    for (subject, body) in [
        (own.clone(), json!({ "host_uuid": other.host })),
        (own.clone(), json!({ "host_uuid": "*" })),
        (own.clone(), json!({ "decky": "decky-1" })),
        (own, json!([])),
        (with_token("h\u{f6}st"), json!({})),
        (with_token("a%b"), same_host),
        (with_token(&"h".repeat(65)), json!({})),
    ] {
        let reply = operator.request::<Value>(&subject, &body).await;
        let error = reply.expect_rejection();
        assert_eq!(error.code, ErrorCode::BadRequest, "{subject} {body}");
    }
    let unknown: HostId = "worker-z".parse()?;
    let unknown = subjects::host_teardown_subject(&unknown);
    let reply = operator.request::<Value>(&unknown, &json!({})).await;
    assert_eq!(reply.expect_rejection().code, ErrorCode::HostNotFound);
    assert!(operator.list_operations().await?.is_empty());
    Ok(())
}

/// The key belongs to the requester and the content of the request, whichever subject carried it.
#[tokio::test]
async fn an_idempotency_key_covers_both_subjects_of_a_teardown() -> TestResult {
    let cluster = Cluster::start().await?;
    let agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let other = cluster.start_agent("worker-b", &["decky-1"]).await?;
    let own = subjects::host_teardown_subject(&agent.host);
    let others = subjects::host_teardown_subject(&other.host);
    let with_host = json!({ "host_uuid": agent.host, "decky_id": "decky-1" });
    let without_host = json!({ "decky_id": "decky-1" });
    let request = async |subject: &str, body: &Value| {
        let operator = &cluster.operator;
        let headers = with_key("rotation-7");
        (operator.request_with_headers::<TeardownAccepted>(subject, headers, body)).await
    };
    let first = request(subjects::TEARDOWN, &with_host).await?;
    for (subject, body) in [(&own, &without_host), (&own, &with_host)] {
        let again = request(subject, body).await?;
        let same = TeardownAccepted {
            repeated: true,
            ..first.clone()
        };
        assert_eq!(again, same, "{subject} {body}");
    }
    for (subject, body) in [(&others, &without_host), (&own, &json!({}))] {
        let conflict = request(subject, body).await.expect_rejection();
        assert_eq!(conflict.code, ErrorCode::IdempotencyConflict, "{subject}");
    }
    Ok(())
}
