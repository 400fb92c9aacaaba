//! The lists: order, pages, filters, cursors and limits; and `swarm.operations.get`.

use scuttle_schemas::agents::ProgressStep;
use scuttle_schemas::hosts::HostsList;
use scuttle_schemas::operations::{OperationState, OperationsList};
use scuttle_schemas::shards::ShardsList;
use scuttle_schemas::{ErrorCode, OperationId, subjects};
use scuttle_tests::{Cluster, ExpectRejection, FakeAgent, Rejection, TestResult, wait_until};
use serde_json::{Value, json};
use uuid::Uuid;

/// Starts three hosts with three deckies each. The id of each host equals its name.
async fn start_three_hosts(cluster: &Cluster) -> anyhow::Result<Vec<FakeAgent>> {
    let mut agents = Vec::new();
    for name in ["c", "a", "b"] {
        let request = json!({ "name": name, "host_uuid": name });
        let _: Value = cluster
            .operator
            .request(subjects::HOSTS_ENROLL, &request)
            .await?;
        let mut agent = FakeAgent::connect(&cluster.servers[0], &name.parse()?).await?;
        agent
            .report_inventory(&["decky-2", "decky-10", "decky-1"])
            .await?;
        agents.push(agent);
    }
    Ok(agents)
}

/// Together, the pages contain the same list for any page size.
#[tokio::test]
async fn shards_are_listed_by_host_and_decky_in_pages_of_any_size() -> TestResult {
    let cluster = Cluster::start().await?;
    start_three_hosts(&cluster).await?;
    let complete: ShardsList = cluster
        .operator
        .request(subjects::SHARDS_LIST, &json!({}))
        .await?;
    let name = |host: &str, decky: &str| format!("{host}/{decky}");
    let names: Vec<String> = complete
        .shards
        .iter()
        .map(|shard| name(shard.host_uuid.as_str(), shard.decky_id.as_str()))
        .collect();
    let expected: Vec<String> = ["a", "b", "c"]
        .iter()
        .flat_map(|host| ["decky-1", "decky-10", "decky-2"].map(|decky| name(host, decky)))
        .collect();
    assert_eq!(names, expected);
    assert_eq!(complete.next, None);
    for limit in [1, 2, 3, 8, 9, 10, 1000] {
        let (revision, paged) = cluster.operator.list_shards_paged(limit).await?;
        assert_eq!(
            (revision, &paged),
            (complete.revision, &complete.shards),
            "in pages of {limit}"
        );
    }
    let two: ShardsList = cluster
        .operator
        .request(subjects::SHARDS_LIST, &json!({ "limit": 2 }))
        .await?;
    assert!(two.shards.len() <= 2 && two.next.is_some(), "{two:?}");
    Ok(())
}

#[tokio::test]
async fn shards_are_filtered_by_host_and_state_across_pages() -> TestResult {
    let cluster = Cluster::start().await?;
    start_three_hosts(&cluster).await?;
    cluster.operator.tear_down(&"b".parse()?, None).await?;
    for (filter, count) in [
        (json!({ "host_uuid": "a" }), 3),
        (json!({ "state": "running" }), 6),
        (json!({ "state": "tearing_down" }), 3),
        (json!({ "host_uuid": "b", "state": "running" }), 0),
        (json!({ "host_uuid": "b", "state": "tearing_down" }), 3),
    ] {
        let mut found = 0;
        let mut request = filter.clone();
        request["limit"] = 2.into();
        loop {
            let page: ShardsList = cluster
                .operator
                .request(subjects::SHARDS_LIST, &request)
                .await?;
            found += page.shards.len();
            match page.next {
                Some(next) => request["after"] = next.into(),
                None => break,
            }
        }
        assert_eq!(found, count, "{filter}");
    }
    Ok(())
}

#[tokio::test]
async fn hosts_are_listed_by_id_in_pages() -> TestResult {
    let cluster = Cluster::start().await?;
    start_three_hosts(&cluster).await?;
    let mut names = Vec::new();
    let mut after = None;
    loop {
        let request = json!({ "after": after, "limit": 1 });
        let page: HostsList = cluster
            .operator
            .request(subjects::HOSTS_LIST, &request)
            .await?;
        assert!(page.hosts.len() <= 1);
        names.extend(page.hosts.iter().map(|host| host.host_uuid.to_string()));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(names, ["a", "b", "c"]);
    Ok(())
}

/// The operations in a list have no field `shards`.
#[tokio::test]
async fn operations_are_listed_newest_first_and_filtered_by_host_and_state() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agents = start_three_hosts(&cluster).await?;
    let mut expected = Vec::new();
    for agent in &agents {
        for decky in ["decky-1", "decky-2"] {
            let accepted = cluster.operator.tear_down(&agent.host, decky).await?;
            expected.insert(0, accepted.operation_id);
        }
    }
    agents[0].report_success(expected[5], &["decky-1"]).await?;
    let running = expected[2];
    agents[1]
        .publish_progress(running, ProgressStep::Started)
        .await?;
    let is_running = |operation: &scuttle_schemas::operations::OperationRecord| {
        operation.state == OperationState::Running
    };
    wait_until(
        "running",
        || cluster.operator.operation(running),
        is_running,
    )
    .await?;

    for (filter, places) in [
        (json!({}), vec![0, 1, 2, 3, 4, 5]),
        (json!({ "state": "succeeded" }), vec![5]),
        (json!({ "state": "running" }), vec![2]),
        (json!({ "state": "queued" }), vec![0, 1, 3, 4]),
        (json!({ "host_uuid": "c" }), vec![4, 5]),
        (json!({ "host_uuid": "c", "state": "queued" }), vec![4]),
        (json!({ "state": "cancelled" }), vec![]),
    ] {
        for limit in [1, 2, 500] {
            let mut request = filter.clone();
            request["limit"] = limit.into();
            let mut found = Vec::new();
            loop {
                let page: Value = cluster
                    .operator
                    .request(subjects::OPERATIONS_LIST, &request)
                    .await?;
                for operation in page["operations"].as_array().into_iter().flatten() {
                    assert_eq!(operation.get("shards"), None);
                }
                let page: OperationsList = serde_json::from_value(page)?;
                assert!(page.operations.len() <= limit);
                found.extend(
                    page.operations
                        .iter()
                        .map(|operation| operation.operation_id),
                );
                match page.next {
                    Some(next) => request["after"] = next.into(),
                    None => break,
                }
            }
            let expected: Vec<OperationId> = places.iter().map(|place| expected[*place]).collect();
            assert_eq!(found, expected, "{filter} in pages of {limit}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn operations_get_returns_exactly_the_fields_of_the_protocol() -> TestResult {
    let cluster = Cluster::start().await?;
    let mut agent = cluster
        .start_agent("worker-a", &["decky-1", "decky-2"])
        .await?;
    let request = json!({ "host_uuid": agent.host, "reason": "rotating lures", "timeout_s": 60 });
    let accepted: Value = cluster
        .operator
        .request(subjects::TEARDOWN, &request)
        .await?;
    let id: OperationId = serde_json::from_value(accepted["operation_id"].clone())?;
    agent.report_success(id, &["decky-1", "decky-2"]).await?;

    let request = json!({ "operation_id": id });
    let reply: Value = cluster
        .operator
        .request(subjects::OPERATIONS_GET, &request)
        .await?;
    let update = &reply["operation"];
    let expected = json!({ "operation": {
        "operation_id": id, "kind": "teardown", "host_uuid": agent.host, "host_name": "worker-a",
        "decky_id": null, "state": "succeeded", "requested_by": "operator", "reason": "rotating lures",
        "accepted_at": update["accepted_at"], "deadline": accepted["deadline"],
        "finished_at": update["finished_at"], "attempts": update["attempts"], "error": null,
        "counts": { "pending": 0, "removed": 2, "absent": 0, "failed": 0 },
        "shards": [
            { "decky_id": "decky-1", "outcome": "removed", "error": null },
            { "decky_id": "decky-2", "outcome": "removed", "error": null },
        ],
        "waiting_for": null,
    } });
    assert_eq!(reply, expected);
    assert!(update["attempts"].as_u64() >= Some(1), "{update}");
    for time in ["accepted_at", "finished_at"] {
        let text = update[time].as_str().unwrap_or_default();
        assert_eq!(
            text.parse::<scuttle_schemas::Timestamp>()?.to_string(),
            text,
            "{time}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn operations_get_rejects_an_unknown_operation() -> TestResult {
    let cluster = Cluster::start().await?;
    let rejection = cluster
        .operator
        .operation(OperationId(Uuid::now_v7()))
        .await
        .expect_rejection();
    assert_eq!(
        (rejection.status, rejection.code),
        (404, ErrorCode::OperationNotFound)
    );
    Ok(())
}

#[tokio::test]
async fn lists_reject_foreign_cursors_and_invalid_limits_and_filters() -> TestResult {
    let cluster = Cluster::start().await?;
    let agents = start_three_hosts(&cluster).await?;
    for agent in &agents {
        cluster.operator.tear_down(&agent.host, None).await?;
    }
    let lists = [
        subjects::SHARDS_LIST,
        subjects::HOSTS_LIST,
        subjects::OPERATIONS_LIST,
    ];
    let mut cursors = Vec::new();
    for subject in lists {
        let page: Value = cluster
            .operator
            .request(subject, &json!({ "limit": 1 }))
            .await?;
        cursors.push(
            page["next"]
                .as_str()
                .unwrap_or_else(|| panic!("{subject}: {page}"))
                .to_owned(),
        );
    }
    for (place, subject) in lists.into_iter().enumerate() {
        let [own, foreign, alien] = [0, 1, 2].map(|step| &cursors[(place + step) % 3]);
        let mut hostile = vec![
            json!({ "after": "" }),
            json!({ "after": "0" }),
            json!({ "after": "not a cursor" }),
            json!({ "after": "é".repeat(1000) }),
            json!({ "after": foreign }),
            json!({ "after": alien }),
            json!({ "after": 3 }),
            json!({ "limit": 0 }),
            json!({ "limit": 1001 }),
            json!({ "limit": -1 }),
            json!({ "limit": "10" }),
        ];
        if subject != subjects::HOSTS_LIST {
            hostile.push(json!({ "host_uuid": "a.b" }));
            hostile.push(json!({ "state": "sleeping" }));
        }
        for request in hostile {
            let reply = cluster.operator.request::<Value>(subject, &request).await;
            let Rejection { status, code, .. } = reply.expect_rejection();
            assert_eq!(
                (status, code),
                (400, ErrorCode::BadRequest),
                "{subject} {request}"
            );
        }
        let request = json!({ "after": own, "limit": 1000, "moon": "full" });
        let rest: Value = cluster.operator.request(subject, &request).await?;
        assert_eq!(
            rest["next"],
            json!(null),
            "unknown fields of a list request are ignored"
        );
    }
    Ok(())
}

#[tokio::test]
async fn an_empty_payload_stands_for_an_object_without_fields() -> TestResult {
    let cluster = Cluster::start().await?;
    cluster.start_agent("worker-a", &["decky-1"]).await?;
    for (subject, list) in [
        (subjects::HOSTS_LIST, "hosts"),
        (subjects::SHARDS_LIST, "shards"),
        (subjects::OPERATIONS_LIST, "operations"),
    ] {
        let empty = async_nats::HeaderMap::new();
        let reply = cluster.operator.request_raw(subject, empty, "").await?;
        let reply: serde_json::Value = serde_json::from_slice(&reply.payload)?;
        assert!(reply[list].is_array(), "{subject}: {reply:#}");
    }
    let empty = async_nats::HeaderMap::new();
    let reply = (cluster.operator)
        .request_raw(subjects::TEARDOWN, empty, "")
        .await?;
    let reply: serde_json::Value = serde_json::from_slice(&reply.payload)?;
    let message = reply["error"]["message"].to_string();
    assert!(message.contains("missing field"), "{reply:#}");
    Ok(())
}
