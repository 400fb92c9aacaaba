//! Asks on the bus which controllers answer.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::Client;
use futures_util::StreamExt;
use scuttle_schemas::subjects::{
    CONTROLLER_PING, METADATA_RECORD, METADATA_STATE, METADATA_STORE, SERVICE_NAME,
};
use serde::Deserialize;
use tokio::time::{Instant as Deadline, timeout_at};
use uuid::Uuid;

use crate::peers::instance::{Instance, RecordStore, ServingState};

/// The time for which answers are collected. The check at the next interval finds controllers that
/// took longer.
const COLLECT_TIME: Duration = Duration::from_millis(500);

/// The maximum number of answers that are read.
const MAX_ANSWERS: usize = 64;

/// The maximum length of a version, in bytes. A longer version is shown as `?`.
const MAX_VERSION: usize = 32;

/// An answer to [`CONTROLLER_PING`].
#[derive(Deserialize)]
struct Answer {
    name: String,
    id: Uuid,
    version: String,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

/// Asks which controllers answer. Returns each of them once, including this controller if it
/// answers. Ignores invalid answers.
pub(super) async fn ask(client: &Client) -> Vec<Instance> {
    let deadline = Deadline::now() + COLLECT_TIME;
    let inbox = client.new_inbox();
    let Ok(mut replies) = client.subscribe(inbox.clone()).await else {
        return Vec::new();
    };
    let sent = async {
        let asked = client.publish_with_reply(CONTROLLER_PING, inbox, "".into());
        asked.await.is_ok() && client.flush().await.is_ok()
    };
    let mut found = BTreeMap::new();
    if timeout_at(deadline, sent).await == Ok(true) {
        for _ in 0..MAX_ANSWERS {
            let Ok(Some(reply)) = timeout_at(deadline, replies.next()).await else {
                break;
            };
            if let Some(instance) = parse(&reply.payload) {
                found.insert(instance.id, instance);
            }
        }
    }
    let _ = replies.unsubscribe().await;
    found.into_values().collect()
}

/// Parses an answer. Returns `None` if the answer is invalid or comes from another service.
fn parse(payload: &[u8]) -> Option<Instance> {
    let Answer {
        name,
        id,
        version,
        metadata,
    } = serde_json::from_slice(payload).ok()?;
    if name != SERVICE_NAME {
        return None;
    }
    let value = |key| metadata.get(key).map(String::as_str);
    let is_shown = version.len() <= MAX_VERSION && version.bytes().all(|b| b.is_ascii_graphic());
    Some(Instance {
        id,
        version: if is_shown { version } else { "?".to_owned() },
        record: value(METADATA_RECORD).and_then(|record| record.parse().ok()),
        store: value(METADATA_STORE).and_then(RecordStore::parse),
        state: ServingState::parse(value(METADATA_STATE)),
    })
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::parse;
    use crate::peers::instance::{Instance, RecordStore, ServingState};

    #[test]
    fn an_answer_has_the_instance_that_was_described() {
        let own = Instance::new(Some(Uuid::from_u128(7)), RecordStore::Redb);
        for state in [
            ServingState::Starting,
            ServingState::Refused,
            ServingState::Serving,
        ] {
            let own = own.with_state(state);
            let answer = serde_json::json!({
                "name": "scuttle",
                "id": own.id,
                "version": own.version,
                "metadata": own.metadata(),
            });
            assert_eq!(parse(answer.to_string().as_bytes()), Some(own));
        }
    }

    #[test]
    fn an_answer_of_version_0_1_0_counts_as_serving() {
        let id = Uuid::from_u128(1);
        let answer = format!(r#"{{"name":"scuttle","id":"{id}","version":"0.1.0"}}"#);
        let found = parse(answer.as_bytes()).expect("an answer");
        assert_eq!((found.record, found.store), (None, None));
        assert_eq!(found.state, ServingState::Serving);
    }

    #[test]
    fn an_invalid_answer_is_ignored_and_hidden_characters_are_not_shown() {
        let id = Uuid::from_u128(1);
        for invalid in [
            "",
            "[]",
            r#"{"name":"scuttle","id":"me","version":"1"}"#,
            &format!(r#"{{"name":"other","id":"{id}","version":"1"}}"#),
        ] {
            assert_eq!(parse(invalid.as_bytes()), None, "{invalid}");
        }
        let answer = format!(r#"{{"name":"scuttle","id":"{id}","version":"1\n\u001b[2J"}}"#);
        assert_eq!(parse(answer.as_bytes()).expect("an answer").version, "?");
    }
}
