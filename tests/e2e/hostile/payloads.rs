//! Malformed, huge and hostile payloads on every subject: each is rejected with an error, or
//! dropped if the sender gets no reply, and changes nothing. Hostile headers and reply subjects are
//! in `headers.rs`.

use async_nats::HeaderMap;
use bytes::Bytes;
use scuttle_schemas::ErrorCode;
use scuttle_schemas::subjects::{self, AgentChannel};
use scuttle_tests::clients::client::parse_reply;
use scuttle_tests::{
    Client, Cluster, ExpectRejection, FakeAgent, Rejection, TestResult, report_hostile_checks,
};
use serde_json::{Value, json};

/// The size of huge payloads in bytes: just below the `max_payload` of the server.
const HUGE_SIZE: usize = 1_000_000;

/// Returns payloads that are not valid for any request or report, each with a description.
fn invalid_payloads() -> Vec<(&'static str, Bytes)> {
    vec![
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
        ("a deep nest of arrays", "[".repeat(HUGE_SIZE).into()),
        (
            "a deep nest of objects",
            "{\"a\":".repeat(HUGE_SIZE / 5).into(),
        ),
        (
            "a deep nest in a field",
            format!("{{\"x\":{}", "[".repeat(HUGE_SIZE - 10)).into(),
        ),
        (
            "a huge string",
            format!("{{\"after\":\"{}\"}}", "a".repeat(HUGE_SIZE - 20)).into(),
        ),
        (
            "a huge number",
            format!("{{\"limit\":{}}}", "9".repeat(HUGE_SIZE - 20)).into(),
        ),
    ]
}

async fn assert_rejected(client: &Client, subject: &str, what: &str, payload: Bytes) -> TestResult {
    let reply = client
        .request_raw(subject, HeaderMap::new(), payload)
        .await?;
    let reply = parse_reply::<Value>(&reply);
    assert!(reply.is_err(), "{subject}, {what}: {reply:?}");
    let Rejection {
        status,
        code,
        message,
    } = reply.expect_rejection();
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

/// Starts a cluster with an agent, deckies and an open teardown.
async fn start_with_open_teardown() -> anyhow::Result<(Cluster, FakeAgent)> {
    let cluster = Cluster::start().await?;
    let mut agent = cluster
        .start_agent("worker-a", &["decky-1", "decky-2"])
        .await?;
    cluster.operator.tear_down(&agent.host, "decky-1").await?;
    agent.next_command().await?;
    Ok((cluster, agent))
}

/// Reads the record without the fields that change even if no request or report is accepted, such
/// as the number of attempts.
async fn read_record(
    cluster: &Cluster,
) -> anyhow::Result<impl PartialEq + std::fmt::Debug + use<>> {
    let mut hosts = cluster.operator.list_hosts().await?;
    for host in hosts.values_mut() {
        host.last_heartbeat = None;
    }
    let mut operations = cluster.operator.list_operations().await?;
    for operation in &mut operations {
        // The number of attempts changes with the backoff.
        operation.attempts = 0;
        operation.waiting_for = None;
    }
    let shards = scuttle_tests::clients::replica_view::clear_last_seen(
        cluster.operator.list_shards().await?,
    );
    Ok((hosts, operations, shards))
}

#[tokio::test]
async fn invalid_requests_are_rejected() -> TestResult {
    let (cluster, _agent) = start_with_open_teardown().await?;
    let before = read_record(&cluster).await?;
    let mut checks = 0;
    for subject in (subjects::READ_REQUESTS.into_iter()).chain(subjects::CHANGE_REQUESTS) {
        for (what, payload) in invalid_payloads() {
            assert_rejected(&cluster.operator, subject, what, payload).await?;
            checks += 1;
        }
    }
    assert_eq!(read_record(&cluster).await?, before);
    report_hostile_checks("invalid requests", checks)?;
    Ok(())
}

/// Invalid progress reports, which get no reply, are dropped.
#[tokio::test]
async fn invalid_reports_are_rejected() -> TestResult {
    let (cluster, mut agent) = start_with_open_teardown().await?;
    let before = read_record(&cluster).await?;
    let mut checks = 0;
    for channel in [AgentChannel::Heartbeat, AgentChannel::Results] {
        let subject = channel.subject(&agent.host);
        for (what, payload) in invalid_payloads() {
            assert_rejected(agent.client(), &subject, what, payload).await?;
            checks += 1;
        }
    }
    let progress = AgentChannel::Progress.subject(&agent.host);
    for (_, payload) in invalid_payloads() {
        agent
            .client()
            .nats()
            .publish(progress.clone(), payload)
            .await?;
        checks += 1;
    }
    assert!(
        !agent.send_heartbeat().await?.stale,
        "the agent's own reports still count"
    );
    assert_eq!(read_record(&cluster).await?, before);
    report_hostile_checks("invalid reports", checks)?;
    Ok(())
}

/// No request with a wrong `decky_id` is mistaken for the teardown of the whole host.
#[tokio::test]
async fn teardown_requests_with_wrong_fields_are_rejected() -> TestResult {
    let (cluster, agent) = start_with_open_teardown().await?;
    let before = read_record(&cluster).await?;
    let host = &agent.host;
    let requests = [
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
    ];
    for request in &requests {
        let payload = serde_json::to_vec(request)?.into();
        assert_rejected(
            &cluster.operator,
            subjects::TEARDOWN,
            &request.to_string(),
            payload,
        )
        .await?;
    }
    let twice = format!(r#"{{"host_uuid":"{host}","decky_id":"decky-2","decky_id":null}}"#);
    assert_rejected(
        &cluster.operator,
        subjects::TEARDOWN,
        "a field twice",
        twice.into(),
    )
    .await?;
    assert_eq!(read_record(&cluster).await?, before);
    report_hostile_checks("teardown requests with wrong fields", requests.len() + 1)?;
    Ok(())
}

#[tokio::test]
async fn reports_with_wrong_fields_are_rejected() -> TestResult {
    let (cluster, mut agent) = start_with_open_teardown().await?;
    let before = read_record(&cluster).await?;
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
            assert_rejected(
                agent.client(),
                &subject,
                &format!("{field} {value}"),
                payload,
            )
            .await?;
        }
    }
    assert_eq!(read_record(&cluster).await?, before);
    let checks = heartbeats.len() + results.len();
    report_hostile_checks("reports with wrong fields", checks)?;
    Ok(())
}

/// None of the deckies in the inventory is registered.
#[tokio::test]
async fn an_inventory_with_too_many_deckies_is_rejected() -> TestResult {
    let (cluster, mut agent) = start_with_open_teardown().await?;
    let before = read_record(&cluster).await?;
    let mut heartbeat = serde_json::to_value(agent.next_heartbeat(None))?;
    let deckies =
        (0..4097).map(|number| json!({ "decky_id": format!("d{number}"), "state": "running" }));
    heartbeat["shards"] = deckies.collect();
    let payload = serde_json::to_vec(&heartbeat)?.into();
    let subject = AgentChannel::Heartbeat.subject(&agent.host);
    assert_rejected(agent.client(), &subject, "4,097 deckies", payload).await?;
    assert_eq!(read_record(&cluster).await?, before);
    Ok(())
}

#[tokio::test]
async fn reports_on_subjects_without_a_valid_host_id_are_rejected() -> TestResult {
    let (cluster, mut agent) = start_with_open_teardown().await?;
    let heartbeat: Bytes = serde_json::to_vec(&agent.next_heartbeat(None))?.into();
    let tokens = ["wörker", "a$b", "worker/a", &"a".repeat(65)].map(str::to_owned);
    for token in tokens {
        for verb in ["heartbeat", "results"] {
            let subject = format!("agent.{token}.{verb}");
            assert_rejected(agent.client(), &subject, "no host", heartbeat.clone()).await?;
        }
    }
    assert_eq!(cluster.operator.list_hosts().await?.len(), 1);
    Ok(())
}
