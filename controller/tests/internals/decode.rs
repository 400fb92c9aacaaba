//! Decoding: any bytes on a subject become an input or a rejection. No payload crashes the decoder
//! or is quoted at length in an error. A payload is rejected if it names a different host than its
//! subject.

use std::path::Path;
use std::sync::LazyLock;

use async_nats::{HeaderMap, Message};
use proptest::prelude::*;
use scuttle_controller::request::decode::{DecodeError, decode_progress, decode_request};
use scuttle_controller::request::endpoint::Endpoint;
use scuttle_core::{Input, TeardownArgs};
use scuttle_schemas::subjects::AgentChannel;
use scuttle_schemas::{ErrorCode, headers};
use scuttle_tests::corpus;
use serde_json::{Value, json};

/// The maximum length of an error message in bytes. A message quotes up to 200 characters of up to
/// four bytes each, and has some text around the quotation.
const MAX_MESSAGE_LENGTH: usize = 1000;

const FOLDER: &str = env!("CARGO_MANIFEST_DIR");

fn message(subject: &str, payload: &[u8], headers: Option<HeaderMap>) -> Message {
    Message {
        subject: subject.into(),
        reply: Some("_INBOX.a.1".into()),
        payload: payload.to_vec().into(),
        headers,
        status: None,
        description: None,
        length: payload.len(),
    }
}

/// Decodes a payload as if it had arrived on each subject.
fn decode_on_all_subjects(host: &str, payload: &[u8], headers: Option<&HeaderMap>) -> Vec<Read> {
    let on = |subject: String| message(&subject.replace('*', host), payload, headers.cloned());
    let endpoints = Endpoint::ALL.map(|endpoint| {
        let message = on(endpoint.subject());
        (
            endpoint.name(),
            decode_request(endpoint, &message, uuid::Uuid::now_v7),
        )
    });
    let message = on(AgentChannel::Progress.wildcard_subject());
    let progress = decode_progress(
        &message,
        AgentChannel::Progress.host_token(&message.subject),
    );
    endpoints
        .into_iter()
        .chain([("progress", progress)])
        .collect()
}

type Read = (&'static str, Result<Input, DecodeError>);

/// Decodes a payload on each subject, and checks what must hold for any payload: a report is for
/// the host in the subject, and an error is a short `bad_request` without control characters.
/// Returns what was decoded.
fn check(host: &str, payload: &[u8], headers: Option<&HeaderMap>) -> Vec<Read> {
    let reads = decode_on_all_subjects(host, payload, headers);
    for (endpoint, read) in &reads {
        match read {
            Ok(Input::Heartbeat {
                host: of,
                heartbeat,
            }) => {
                assert_eq!(
                    (of.as_str(), of),
                    (host, &heartbeat.host_uuid),
                    "{endpoint}"
                );
            }
            Ok(Input::Result {
                host: of, result, ..
            }) => assert_eq!((of.as_str(), of), (host, &result.host_uuid), "{endpoint}"),
            Ok(Input::Progress { host: of, .. }) => assert_eq!(of.as_str(), host, "{endpoint}"),
            Ok(_) => {}
            Err(DecodeError { error, .. }) => {
                let text = &error.message;
                assert_eq!(error.code, ErrorCode::BadRequest, "{endpoint}: {text}");
                assert!(
                    text.len() < MAX_MESSAGE_LENGTH,
                    "{endpoint}: {} bytes",
                    text.len()
                );
                assert!(!text.contains(char::is_control), "{endpoint}: {text:?}");
            }
        }
    }
    reads
}

#[test]
fn no_payload_of_the_corpus_is_a_change() {
    for (name, payload) in corpus::load_all(FOLDER) {
        for (endpoint, read) in check("worker-x", &payload, None) {
            let nowhere = |host: &scuttle_schemas::HostId| host.as_str() == "worker-z";
            let dead = |id: scuttle_schemas::OperationId| id.to_string().ends_with("dead");
            let harmless = match &read {
                Err(_)
                | Ok(
                    Input::ShardsList(_)
                    | Input::HostsList(_)
                    | Input::OperationsList(_)
                    | Input::OperationGet(_),
                ) => true,
                Ok(Input::Teardown(TeardownArgs { request, .. })) => nowhere(&request.host_uuid),
                Ok(Input::UpdateHost(request)) => nowhere(&request.host_uuid),
                Ok(Input::Decommission(request)) => nowhere(&request.host_uuid),
                Ok(Input::Protect(request)) => nowhere(&request.host_uuid),
                Ok(Input::Cancel(request)) => dead(request.operation_id),
                Ok(Input::Progress { progress, .. }) => dead(progress.operation_id),
                Ok(_) => false,
            };
            assert!(harmless, "{name} on {endpoint}: {read:?}");
        }
    }
}

/// The payload of every golden example, valid or invalid.
static GOLDEN: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let folder = Path::new(FOLDER).join("../schemas/golden");
    let messages = std::fs::read_dir(folder).expect("the examples are there");
    let files = messages.flat_map(|message| {
        std::fs::read_dir(message.expect("an entry").path()).expect("a folder of examples")
    });
    let mut paths: Vec<_> = files.map(|file| file.expect("an entry").path()).collect();
    paths.sort();
    let examples: Vec<_> = paths
        .iter()
        .map(|path| std::fs::read(path).expect("an example can be read"))
        .collect();
    assert!(examples.len() > 100, "{} examples", examples.len());
    examples
});

/// A change to the bytes of a message.
#[derive(Debug, Clone)]
enum Damage {
    Cut,
    Flip(u8),
    Insert(Vec<u8>),
    Repeat(usize),
}

fn apply_damage(mut bytes: Vec<u8>, at: prop::sample::Index, damage: &Damage) -> Vec<u8> {
    let at = at.index(bytes.len().max(1)).min(bytes.len());
    match damage {
        Damage::Cut => bytes.truncate(at),
        Damage::Flip(mask) => bytes.iter_mut().skip(at).take(1).for_each(|b| *b ^= mask),
        Damage::Insert(more) => drop(bytes.splice(at..at, more.iter().copied())),
        Damage::Repeat(length) => {
            let end = (at + length).min(bytes.len());
            let piece = bytes[at..end].to_vec();
            drop(bytes.splice(at..at, piece));
        }
    }
    bytes
}

fn any_damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        Just(Damage::Cut),
        (1..=255_u8).prop_map(Damage::Flip),
        prop::collection::vec(any::<u8>(), 1..8).prop_map(Damage::Insert),
        (1..200_usize).prop_map(Damage::Repeat),
    ]
}

/// Generates JSON values of every type and of different sizes, including names that the protocol
/// uses.
fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        any::<String>().prop_map(Value::from),
        "[a-z0-9-]{1,70}".prop_map(Value::from),
        prop::sample::select(vec![
            "worker-x",
            "worker-z",
            "started",
            "succeeded",
            "running",
            "*"
        ])
        .prop_map(Value::from),
        Just(json!("0197a8f1-0000-7000-8000-000000000001")),
        Just(json!("2026-11-23T09:11:49.000Z")),
    ];
    leaf.prop_recursive(4, 32, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::vec((any_key(), inner), 0..8)
                .prop_map(|fields| fields.into_iter().collect()),
        ]
    })
}

fn any_key() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => prop::sample::select(vec![
            "type", "host_uuid", "decky_id", "timeout_s", "dry_run", "expect_plan", "reason",
            "name", "address", "labels", "operation_id", "after", "limit", "state", "force",
            "boot_id", "sequence", "interval_ms", "page", "pages", "shards", "outcome", "error",
            "started_at", "finished_at", "step", "done", "total", "agent_version",
        ]).prop_map(str::to_owned),
        1 => any::<String>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_decoded_or_rejected(payload in prop::collection::vec(any::<u8>(), 0..300)) {
        check("worker-x", &payload, None);
    }

    #[test]
    fn any_object_is_decoded_or_rejected(fields in prop::collection::vec((any_key(), any_value()), 0..12)) {
        // As text, so that a key can stand there twice.
        let fields: Vec<_> = fields
            .iter()
            .map(|(key, value)| format!("{}:{value}", json!(key)))
            .collect();
        check("worker-x", format!("{{{}}}", fields.join(",")).as_bytes(), None);
    }

    #[test]
    fn a_damaged_message_is_decoded_or_rejected(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any_damage()), 0..4),
    ) {
        let example = GOLDEN[which.index(GOLDEN.len())].clone();
        let payload = changes
            .iter()
            .fold(example, |bytes, (at, damage)| apply_damage(bytes, *at, damage));
        check("worker-a", &payload, None);
    }

    #[test]
    fn a_report_is_accepted_only_on_the_subject_of_a_valid_host(token in "[^ .*>\r\n\t]{1,80}") {
        let heartbeat = json!({
            "type": "scuttle.v1.heartbeat", "host_uuid": token, "agent_version": "0",
            "boot_id": "0197a8f1-0000-7000-8000-000000000001", "sequence": 1, "interval_ms": 5000,
        });
        let valid = token.parse::<scuttle_schemas::HostId>().is_ok();
        let reads = check(&token, heartbeat.to_string().as_bytes(), None);
        let is_accepted = reads.iter().any(|(name, read)| *name == "agent-heartbeat" && read.is_ok());
        prop_assert_eq!(is_accepted, valid);
        let progress = br#"{"type":"scuttle.v1.teardown_progress",
            "operation_id":"0197a8f1-0000-7000-8000-00000000dead",
            "boot_id":"0197a8f1-0000-7000-8000-000000000001","step":"started"}"#;
        let reads = check(&token, progress, None);
        let is_accepted = reads.iter().any(|(name, read)| *name == "progress" && read.is_ok());
        prop_assert_eq!(is_accepted, valid);
    }

    /// No long or binary text from a header is kept. A request is rejected only if its request-info
    /// header is not a JSON object.
    #[test]
    fn any_headers_are_decoded_without_long_or_binary_text(
        trace in "[^\r\n]{0,100}",
        info in prop_oneof!["[^\r\n]{0,300}", "\\{\"user\":\"[a-z\\\\/é]{0,300}\"\\}"],
        other in ("[a-z-]{1,20}", "[^\r\n]{0,40}"),
    ) {
        let mut map = HeaderMap::new();
        map.insert(headers::TRACEPARENT, trace.as_str());
        map.insert(headers::REQUEST_INFO, info.as_str());
        map.insert(other.0.as_str(), other.1.as_str());
        let reads = check("worker-x", br#"{"host_uuid":"worker-z"}"#, Some(&map));
        match reads.first() {
            Some((_, Ok(Input::Teardown(TeardownArgs { requested_by, trace, .. })))) => {
                prop_assert!(requested_by.chars().count() <= 128);
                prop_assert!(trace.as_ref().is_none_or(|trace| trace.len() <= 64));
            }
            // The server writes an object; anything else is a client's that hides who asks.
            Some((_, Err(rejected))) => {
                let message = &rejected.error.message;
                prop_assert!(message.contains(headers::REQUEST_INFO), "{message}");
                let object = serde_json::from_str::<serde_json::Map<_, serde_json::Value>>(&info);
                prop_assert!(object.is_err(), "{info}");
            }
            other => return Err(TestCaseError::fail(format!("{other:?}"))),
        }
    }
}
