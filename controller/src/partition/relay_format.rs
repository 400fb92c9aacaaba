//! What the leaders of other partitions tell the first's, as bytes: a broadcast as it is to be told on, with its own revision, and
//! before it what the first needs to know of it. So it is neither read nor written again on its way, but for the revision.

use bytes::Bytes;
use memchr::memmem;
use scuttle_core::{Effect, RelayedBroadcast, Topic};
use scuttle_schemas::subjects;

/// Before each revision in a broadcast. Within a text of JSON each quotation mark has a backslash before it; and where this is the
/// name of a label, no number comes after it.
const REVISION: &[u8] = b"\"revision\":";

/// Whether it only repeats the last revision.
const REPEATS: u8 = b'=';
const TELLS: u8 = b'+';

/// What comes before a broadcast of this partition, if the effect is one: its revision, and whether it tells anything.
pub fn encode_header(effect: &Effect) -> Option<String> {
    let (revision, repeats) = match effect {
        Effect::ShardsUpdated(message, _) => {
            let repeats = message.updated.is_empty() && message.removed.is_empty();
            (message.revision, repeats)
        }
        Effect::HostsUpdated(message) => (message.revision, message.updated.is_empty()),
        Effect::OperationsUpdated(message, _) => (message.revision, message.updated.is_empty()),
        Effect::Command { .. } | Effect::Relayed { .. } => return None,
    };
    let kind = char::from(if repeats { REPEATS } else { TELLS });
    Some(format!("{revision}{kind}"))
}

/// Reads what was told on this subject.
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
            REPEATS => true,
            TELLS => false,
            _ => return None,
        },
        message: message.into(),
    })
}

/// The subject that it is told on.
pub fn broadcast_subject(topic: Topic) -> &'static str {
    match topic {
        Topic::Shards => subjects::SHARDS_UPDATED,
        Topic::Hosts => subjects::HOSTS_UPDATED,
        Topic::Operations => subjects::OPERATIONS_UPDATED,
    }
}

/// The message, with this revision in the place of its own.
pub fn with_revision(told: &RelayedBroadcast, revision: u64) -> Bytes {
    let (own, new) = (told.revision.to_string(), revision.to_string());
    let message = &*told.message;
    let mut numbered = Vec::with_capacity(message.len() + message.len() / 64 + new.len());
    let mut copied = 0;
    for found in memmem::find_iter(message, REVISION) {
        let number = found + REVISION.len();
        let end = number + own.len();
        let whole = message.get(end).is_some_and(|byte| !byte.is_ascii_digit());
        if whole && message[number..].starts_with(own.as_bytes()) {
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
        // Whoever chooses the texts must not choose revisions.
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
    fn only_the_revisions_are_other_ones() {
        for (own, new) in [(7, 7), (7, 12), (7, u64::MAX), (71, 8), (0, 1)] {
            let told: ShardsUpdated = serde_json::from_value(message(own)).expect("a message");
            let json = serde_json::to_vec(&told).expect("JSON");
            let effect = Effect::ShardsUpdated(told, None);
            let payload = [
                encode_header(&effect).expect("a broadcast").as_bytes(),
                &json,
            ]
            .concat();
            let on = subjects::relay_subject(None, subjects::SHARDS_UPDATED);
            let relayed = decode(&on, &payload).expect("told");
            assert_eq!((relayed.revision, relayed.is_repeat), (own, false));
            assert_eq!(broadcast_subject(relayed.topic), subjects::SHARDS_UPDATED);
            let on: Value = serde_json::from_slice(&with_revision(&relayed, new)).expect("JSON");
            let read: ShardsUpdated = serde_json::from_value(on).expect("a message");
            let wanted: ShardsUpdated = serde_json::from_value(message(new)).expect("a message");
            assert_eq!(read, wanted);
        }
    }

    #[test]
    fn what_is_not_told_so_is_not_read() {
        let hosts = &subjects::relay_subject(None, subjects::HOSTS_UPDATED);
        let repeat = decode(hosts, b"12={}").expect("told");
        assert_eq!((repeat.topic, repeat.is_repeat), (Topic::Hosts, true));
        for payload in ["", "12", "{}", "+{}", "12-{}", "99999999999999999999+{}"] {
            assert!(decode(hosts, payload.as_bytes()).is_none(), "{payload}");
        }
        assert!(decode(subjects::TEARDOWN, b"12={}").is_none());
    }
}
