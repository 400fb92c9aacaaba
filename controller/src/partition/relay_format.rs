//! The format in which the leader of another partition sends a broadcast to the first partition's
//! leader.
//!
//! A relayed broadcast has a header, which contains the fields that the first partition's leader
//! needs. The header is followed by the broadcast as clients will receive it, but with the revision
//! of the other partition. The first partition's leader only replaces this revision, and neither
//! decodes nor encodes the broadcast.

use bytes::Bytes;
use memchr::memmem;
use scuttle_core::api::RelayedBroadcast;
use scuttle_core::{Effect, Topic};
use scuttle_schemas::subjects;

/// The text before each revision in a broadcast. This text cannot occur within a JSON string, where
/// each quotation mark follows a backslash. A label may be named `revision`, but its value is a
/// string, not a number.
const REVISION: &[u8] = b"\"revision\":";

/// The last byte of the header of a broadcast that only repeats the last revision.
const REPEAT_MARK: u8 = b'=';
/// The last byte of the header of a broadcast that contains changes.
const CHANGE_MARK: u8 = b'+';

/// Returns the header of a broadcast, which states the revision and whether the broadcast contains
/// changes. Returns `None` for other effects.
pub fn encode_header(effect: &Effect) -> Option<String> {
    let (revision, is_repeat) = match effect {
        Effect::ShardsUpdated(message, _) => {
            let is_repeat = message.updated.is_empty() && message.removed.is_empty();
            (message.revision, is_repeat)
        }
        Effect::HostsUpdated(message) => (message.revision, message.updated.is_empty()),
        Effect::OperationsUpdated(message, _) => (message.revision, message.updated.is_empty()),
        Effect::Command { .. } | Effect::Relayed { .. } | Effect::Quarantine { .. } => {
            return None;
        }
    };
    let kind = char::from(if is_repeat { REPEAT_MARK } else { CHANGE_MARK });
    Some(format!("{revision}{kind}"))
}

/// Decodes a broadcast that was relayed on `subject`. Returns `None` if the subject is not one for
/// relayed broadcasts or the header is invalid.
pub fn decode(subject: &str, payload: &[u8]) -> Option<RelayedBroadcast> {
    let all = [Topic::Shards, Topic::Hosts, Topic::Operations];
    let topic = all
        .into_iter()
        .find(|topic| subject.ends_with(broadcast_subject(*topic)))?;
    let end = payload.iter().position(|byte| !byte.is_ascii_digit())?;
    let (revision, rest) = payload.split_at(end);
    let (kind, message) = rest.split_first()?;
    Some(RelayedBroadcast {
        topic,
        revision: std::str::from_utf8(revision).ok()?.parse().ok()?,
        is_repeat: match *kind {
            REPEAT_MARK => true,
            CHANGE_MARK => false,
            _ => return None,
        },
        message: message.into(),
    })
}

/// Returns the subject on which clients receive the broadcasts of `topic`.
pub fn broadcast_subject(topic: Topic) -> &'static str {
    match topic {
        Topic::Shards => subjects::SHARDS_UPDATED,
        Topic::Hosts => subjects::HOSTS_UPDATED,
        Topic::Operations => subjects::OPERATIONS_UPDATED,
    }
}

/// Returns the encoded broadcast with each occurrence of its revision replaced by `revision`.
pub fn with_revision(relayed: &RelayedBroadcast, revision: u64) -> Bytes {
    let (own, new) = (relayed.revision.to_string(), revision.to_string());
    let message = &*relayed.message;
    let mut numbered = Vec::with_capacity(message.len() + message.len() / 64 + new.len());
    let mut copied = 0;
    for found in memmem::find_iter(message, REVISION) {
        let number = found + REVISION.len();
        let end = number + own.len();
        let is_complete = message.get(end).is_some_and(|byte| !byte.is_ascii_digit());
        if is_complete && message[number..].starts_with(own.as_bytes()) {
            numbered.extend_from_slice(&message[copied..number]);
            numbered.extend_from_slice(new.as_bytes());
            copied = end;
        }
    }
    numbered.extend_from_slice(&message[copied..]);
    numbered.into()
}

#[cfg(test)]
mod tests {
    use scuttle_core::{Effect, Topic};
    use scuttle_schemas::shards::ShardsUpdated;
    use scuttle_schemas::subjects;
    use serde_json::{Value, json};

    use super::{broadcast_subject, decode, encode_header, with_revision};

    fn message(revision: u64) -> Value {
        let at = "2026-11-23T09:11:49.000Z";
        // Texts that clients and agents choose must not be taken for revisions.
        let shard = json!({
            "host_uuid": "a", "host_name": "a", "decky_id": "d", "decky_ip": null,
            "services": ["\"revision\":7", "revision"],
            "labels": { "revision": "7", "x": "\"revision\":7," },
            "state": "teardown_failed", "last_error": "\"revision\":7, and \\\"revision\\\":7}",
            "operation_id": null, "last_seen": at, "updated_at": at, "revision": revision,
        });
        json!({
            "type": "scuttle.v1.shards_updated", "revision": revision, "at": at, "operation_id": null,
            "updated": [shard], "removed": [{ "host_uuid": "a", "decky_id": "e", "revision": revision }],
        })
    }

    #[test]
    fn with_revision_replaces_nothing_but_the_revisions() {
        for (own, new) in [(7, 7), (7, 12), (7, u64::MAX), (71, 8), (0, 1)] {
            let broadcast: ShardsUpdated = serde_json::from_value(message(own)).expect("a message");
            let json = serde_json::to_vec(&broadcast).expect("JSON");
            let effect = Effect::ShardsUpdated(broadcast, None);
            let payload = [
                encode_header(&effect).expect("a broadcast").as_bytes(),
                &json,
            ]
            .concat();
            let subject = subjects::relay_subject(None, subjects::SHARDS_UPDATED);
            let relayed = decode(&subject, &payload).expect("a relayed broadcast");
            assert_eq!((relayed.revision, relayed.is_repeat), (own, false));
            assert_eq!(broadcast_subject(relayed.topic), subjects::SHARDS_UPDATED);
            let replaced: Value =
                serde_json::from_slice(&with_revision(&relayed, new)).expect("JSON");
            let actual: ShardsUpdated = serde_json::from_value(replaced).expect("a message");
            let expected: ShardsUpdated = serde_json::from_value(message(new)).expect("a message");
            assert_eq!(actual, expected);
        }
    }

    #[test]
    fn a_payload_without_a_header_is_not_decoded() {
        let hosts = &subjects::relay_subject(None, subjects::HOSTS_UPDATED);
        let repeat = decode(hosts, b"12={}").expect("a relayed broadcast");
        assert_eq!((repeat.topic, repeat.is_repeat), (Topic::Hosts, true));
        for payload in ["", "12", "{}", "+{}", "12-{}", "99999999999999999999+{}"] {
            assert!(decode(hosts, payload.as_bytes()).is_none(), "{payload}");
        }
        assert!(decode(subjects::TEARDOWN, b"12={}").is_none());
    }
}
