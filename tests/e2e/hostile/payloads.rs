//! Malformed, huge and hostile payloads on every subject: each gets its error, and harms nothing. (What is
//! hostile around a payload is in `envelopes.rs`.)

use async_nats::HeaderMap;
use bytes::Bytes;
use scuttle_schemas::ErrorCode;
use scuttle_schemas::subjects::{self, AgentChannel};
use scuttle_tests::clients::client::parse_reply;
use scuttle_tests::{Client, Cluster, ExpectRejection, FakeAgent, Rejection, TestResult};
use serde_json::{Value, json};

/// As much as the server takes in one message, nearly.
const HUGE: usize = 1_000_000;

/// Payloads that no request or report may be.
fn garbage() -> Vec<(&'static str, Bytes)> {
    vec![
        ("empty", Bytes::new()),
        ("a space", " ".into()),
        ("null", "null".into()),
        ("a number", "3".into()),
        ("a string", "\"teardown\"".into()),
        ("an array", "[]".into()),
        (
            "an array of the fields",
            "[\"worker-a\",\"decky-1\"]".into(),
        ),
        ("half an object", "{\"host_uuid\":\"worker".into()),
        ("two objects", "{}{}".into()),
        (
            "bytes that are no text",
            Bytes::from_static(b"\xff\xfe\x00{}"),
        ),
        (
            "text that is not UTF-8",
            Bytes::from_static(b"{\"host_uuid\":\"\xc3\x28\"}"),
        ),
        ("zeros", vec![0; 4096].into()),
        ("a deep nest of arrays", "[".repeat(HUGE).into()),
        ("a deep nest of objects", "{\"a\":".repeat(HUGE / 5).into()),
        (
            "a deep nest in a field",
            format!("{{\"x\":{}", "[".repeat(HUGE - 10)).into(),
        ),
        (
            "a huge string",
            format!("{{\"after\":\"{}\"}}", "a".repeat(HUGE - 20)).into(),
        ),
        (
            "a huge number",
            format!("{{\"limit\":{}}}", "9".repeat(HUGE - 20)).into(),
        ),
    ]
}

async fn assert_refused(client: &Client, subject: &str, what: &str, payload: Bytes) -> TestResult {
    let answer = client
        .request_raw(subject, HeaderMap::new(), payload)
        .await?;
    let answer = parse_reply::<Value>(&answer);
    assert!(answer.is_err(), "{subject}, {what}: {answer:?}");
    let Rejection {
        status,
        code,
        message,
    } = answer.expect_rejection();
    assert_eq!(
        (status, code),
        (400, ErrorCode::BadRequest),
        "{subject}, {what}: {message}"
    );
    assert!(
        message.len() < 2000,
        "{subject}, {what}: a message of {} bytes",
        message.len()
    );
    Ok(())
}

/// A cluster with something in it to harm.
async fn something_to_harm() -> anyhow::Result<(Cluster, FakeAgent)> {
    let cluster = Cluster::start().await?;
    let mut agent = cluster
        .start_agent("worker-a", &["decky-1", "decky-2"])
        .await?;
    cluster.operator.tear_down(&agent.host, "decky-1").await?;
    agent.next_command().await?;
    Ok((cluster, agent))
}

/// What must be as it was.
async fn record(cluster: &Cluster) -> anyhow::Result<impl PartialEq + std::fmt::Debug + use<>> {
    let mut hosts = cluster.operator.list_hosts().await?;
    for host in hosts.values_mut() {
        host.last_heartbeat = None;
    }
    let mut operations = cluster.operator.list_operations().await?;
    for operation in &mut operations {
        // The backoff goes on meanwhile.
        operation.attempts = 0;
        operation.waiting_for = None;
    }
    let shards = scuttle_tests::clients::replica_view::clear_last_seen(
        cluster.operator.list_shards().await?,
    );
    Ok((hosts, operations, shards))
}

/// Garbage on every request subject is a `bad_request`.
#[tokio::test]
async fn garbage_requests_are_refused() -> TestResult {
    let (cluster, _agent) = something_to_harm().await?;
    let before = record(&cluster).await?;
    for subject in [
        subjects::TEARDOWN,
        subjects::HOSTS_ENROLL,
        subjects::SHARDS_LIST,
        subjects::HOSTS_LIST,
        subjects::OPERATIONS_LIST,
        subjects::OPERATIONS_GET,
    ] {
        for (what, payload) in garbage() {
            assert_refused(&cluster.operator, subject, what, payload).await?;
        }
    }
    assert_eq!(record(&cluster).await?, before);
    Ok(())
}

/// Garbage on every agent's channel is a `bad_request`; what has no answer is dropped.
#[tokio::test]
async fn garbage_reports_are_refused() -> TestResult {
    let (cluster, mut agent) = something_to_harm().await?;
    let before = record(&cluster).await?;
    for channel in [AgentChannel::Heartbeat, AgentChannel::Results] {
        let subject = channel.subject(&agent.host);
        for (what, payload) in garbage() {
            assert_refused(agent.client(), &subject, what, payload).await?;
        }
    }
    let progress = AgentChannel::Progress.subject(&agent.host);
    for (_, payload) in garbage() {
        agent
            .client()
            .nats()
            .publish(progress.clone(), payload)
            .await?;
    }
    assert!(
        !agent.send_heartbeat().await?.stale,
        "the agent's own reports still count"
    );
    assert_eq!(record(&cluster).await?, before);
    Ok(())
}

/// Teardown requests that are objects and yet wrong: each is refused, none becomes the teardown of a host.
#[tokio::test]
async fn wrong_teardowns_are_refused() -> TestResult {
    let (cluster, agent) = something_to_harm().await?;
    let before = record(&cluster).await?;
    let host = &agent.host;
    for request in [
        json!({}),
        json!({ "host_uuid": null }),
        json!({ "host_uuid": 3 }),
        json!({ "host_uuid": "" }),
        json!({ "host_uuid": "*" }),
        json!({ "host_uuid": ">" }),
        json!({ "host_uuid": "a.b" }),
        json!({ "host_uuid": format!("{host} ") }),
        json!({ "host_uuid": format!("{host}\u{0}") }),
        json!({ "host_uuid": format!("{host}\r\nPUB x 0\r\n") }),
        json!({ "host_uuid": "a".repeat(65) }),
        json!({ "host_uuid": host, "decky_id": "" }),
        json!({ "host_uuid": host, "decky_id": "*" }),
        json!({ "host_uuid": host, "decky_id": "../decky-2" }),
        json!({ "host_uuid": host, "decky_id": ["decky-2"] }),
        json!({ "host_uuid": host, "decky_id": "d".repeat(65) }),
        json!({ "host_uuid": host, "decky": "decky-2" }),
        json!({ "host_uuid": host, "deckyId": "decky-2" }),
        json!({ "host_uuid": host, "decky_id ": "decky-2" }),
        json!({ "host_uuid": host, "timeout_s": 0 }),
        json!({ "host_uuid": host, "timeout_s": -1 }),
        json!({ "host_uuid": host, "timeout_s": 86_401 }),
        json!({ "host_uuid": host, "timeout_s": 1.5 }),
        json!({ "host_uuid": host, "timeout_s": "600" }),
        json!({ "host_uuid": host, "timeout_s": u64::MAX }),
        json!({ "host_uuid": host, "reason": "r".repeat(513) }),
        json!({ "host_uuid": host, "reason": 3 }),
    ] {
        let payload = serde_json::to_vec(&request)?.into();
        assert_refused(
            &cluster.operator,
            subjects::TEARDOWN,
            &request.to_string(),
            payload,
        )
        .await?;
    }
    let twice = format!(r#"{{"host_uuid":"{host}","decky_id":"decky-2","decky_id":null}}"#);
    assert_refused(
        &cluster.operator,
        subjects::TEARDOWN,
        "a field twice",
        twice.into(),
    )
    .await?;
    assert_eq!(record(&cluster).await?, before);
    Ok(())
}

/// Reports that are objects and yet wrong.
#[tokio::test]
async fn wrong_reports_are_refused() -> TestResult {
    let (cluster, mut agent) = something_to_harm().await?;
    let before = record(&cluster).await?;
    let operation = cluster.operator.list_operations().await?[0].operation_id;
    let heartbeat = serde_json::to_value(agent.next_heartbeat(Some(vec![])))?;
    let result = serde_json::to_value(agent.next_success(operation, vec![]))?;
    let changed = |whole: &Value, field: &str, value: Value| {
        let mut changed = whole.clone();
        changed[field] = value;
        changed
    };
    let decky = |id: &str| json!([{ "decky_id": id, "state": "running" }]);
    let heartbeats = [
        ("type", json!("scuttle.v2.heartbeat")),
        ("type", json!(null)),
        ("boot_id", json!("boot")),
        ("sequence", json!(-1)),
        ("sequence", json!(1.5)),
        ("interval_ms", json!(0)),
        ("page", json!("1")),
        ("page", json!(0)),
        ("page", json!(2)),
        ("pages", json!(0)),
        ("pages", json!(4_000_000_000_u32)),
        ("shards", json!({})),
        ("shards", json!([null])),
        ("shards", json!([["decky-9", "running"]])),
        ("shards", decky("decky 9")),
        ("shards", decky("../9")),
        (
            "shards",
            json!([{ "decky_id": "decky-9", "state": "tearing_down" }]),
        ),
        (
            "shards",
            json!([{ "decky_id": "decky-9", "state": "running", "services": [""] }]),
        ),
        (
            "shards",
            json!([{ "decky_id": "decky-9", "state": "running", "labels": { "k": "" } }]),
        ),
    ];
    let results = [
        ("type", json!("scuttle.v1.heartbeat")),
        ("operation_id", json!("none")),
        ("outcome", json!("perhaps")),
        ("sequence", json!(null)),
        (
            "shards",
            json!([{ "decky_id": "decky-1", "outcome": "pending" }]),
        ),
        ("shards", json!([{ "decky_id": "*", "outcome": "removed" }])),
        ("started_at", json!("yesterday")),
    ];
    for (channel, whole, wrongs) in [
        (AgentChannel::Heartbeat, &heartbeat, &heartbeats[..]),
        (AgentChannel::Results, &result, &results[..]),
    ] {
        let subject = channel.subject(&agent.host);
        for (field, value) in wrongs {
            let wrong = changed(whole, field, value.clone());
            let payload = serde_json::to_vec(&wrong)?.into();
            assert_refused(
                agent.client(),
                &subject,
                &format!("{field} {value}"),
                payload,
            )
            .await?;
        }
    }
    assert_eq!(record(&cluster).await?, before);
    Ok(())
}

/// More deckies than a host may have, in one inventory: refused, and none of them is registered.
#[tokio::test]
async fn too_large_an_inventory_is_refused() -> TestResult {
    let (cluster, mut agent) = something_to_harm().await?;
    let before = record(&cluster).await?;
    let mut heartbeat = serde_json::to_value(agent.next_heartbeat(None))?;
    let deckies =
        (0..4097).map(|number| json!({ "decky_id": format!("d{number}"), "state": "running" }));
    heartbeat["shards"] = deckies.collect();
    let payload = serde_json::to_vec(&heartbeat)?.into();
    let subject = AgentChannel::Heartbeat.subject(&agent.host);
    assert_refused(agent.client(), &subject, "4,097 deckies", payload).await?;
    assert_eq!(record(&cluster).await?, before);
    Ok(())
}

/// A token in an agent's subject that is no `host_uuid` is refused like any other name that breaks its rule.
#[tokio::test]
async fn subjects_that_name_no_host_are_refused() -> TestResult {
    let (cluster, mut agent) = something_to_harm().await?;
    let heartbeat: Bytes = serde_json::to_vec(&agent.next_heartbeat(None))?.into();
    let tokens = ["wörker", "a$b", "worker/a", &"a".repeat(65)].map(str::to_owned);
    for token in tokens {
        for verb in ["heartbeat", "results"] {
            let subject = format!("agent.{token}.{verb}");
            assert_refused(agent.client(), &subject, "no host", heartbeat.clone()).await?;
        }
    }
    assert_eq!(cluster.operator.list_hosts().await?.len(), 1);
    Ok(())
}
