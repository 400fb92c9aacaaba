//! Idempotency keys (`Nats-Msg-Id`): for 24 hours, also across restarts, a repeated request with
//! the same key gets the reply to the first request, marked as repeated.

use scuttle_schemas::teardown::{
    DETAIL_IN_PROGRESS, DETAIL_QUEUED, TeardownAccepted, TeardownRequest,
};
use scuttle_schemas::{DeckyId, ErrorCode, ErrorReply, Timestamp};
use uuid::Uuid;

use crate::record::change::Change;
use crate::record::rows::{KeyId, KeyRow};
use crate::requests::hash::hash_texts;
use crate::state::State;

/// The maximum number of keys that are kept for one requester. These keys take about 30 MB of
/// memory. (It is lower in tests, to reach the limit quickly.)
///
/// The number of requesters needs no limit: it is at most the number of users that the NATS server
/// vouches for, plus one for all requests without such a user.
const MAX_KEYS_PER_REQUESTER: usize = if cfg!(test) { 100 } else { 50_000 };

/// The idempotency key of a request, with a hash of the request's content.
pub(crate) struct KeyedRequest {
    key: KeyId,
    hash: Uuid,
}

impl KeyedRequest {
    pub(crate) fn new(requester: &str, key: &str, request: &TeardownRequest) -> Self {
        let key = KeyId {
            requester: requester.to_owned(),
            key: key.to_owned(),
        };
        Self {
            key,
            hash: hash_request(request),
        }
    }
}

impl State {
    /// Returns the reply to an earlier request with this key, if there was one.
    ///
    /// Rejects the request if the earlier request was different, or if there is no earlier request
    /// and its requester has reached the limit of keys.
    pub(crate) fn find_earlier_reply(
        &self,
        now: Timestamp,
        request: &KeyedRequest,
    ) -> Result<Option<TeardownAccepted>, ErrorReply> {
        let keys = &self.idempotency_keys;
        match keys.get(&request.key, now) {
            Some(row) if row.request == request.hash => Ok(Some(repeat_reply(row))),
            Some(row) => {
                let (at, operation) = (row.answered_at, row.operation);
                Err(ErrorReply::new(
                    ErrorCode::IdempotencyConflict,
                    format!(
                        "the idempotency key was used at {at} for a different request, which has \
                         operation {operation}: use a new key for a new request"
                    ),
                ))
            }
            None => {
                let requester = &request.key.requester;
                if keys.count_of(requester) < MAX_KEYS_PER_REQUESTER {
                    return Ok(None);
                }
                let expiry = keys.next_expiry_of(requester);
                Err(ErrorReply {
                    retry_after_ms: expiry
                        .map(|at| u64::try_from(at.millis_since(now)).unwrap_or(0)),
                    ..ErrorReply::new(
                        ErrorCode::Overloaded,
                        format!(
                            "requester {requester} has used {MAX_KEYS_PER_REQUESTER} idempotency \
                             keys within 24 hours: reuse the key of a repeated request, or send \
                             requests without a key"
                        ),
                    )
                })
            }
        }
    }

    /// Stores the reply to a request under the request's key.
    pub(crate) fn keep_reply(
        &mut self,
        now: Timestamp,
        request: KeyedRequest,
        reply: &TeardownAccepted,
    ) {
        let row = KeyRow {
            id: request.key,
            request: request.hash,
            answered_at: now,
            operation: reply.operation_id,
            joined: reply.repeated,
            host: reply.host_uuid.clone(),
            host_name: reply.host_name.clone(),
            decky: reply.decky_id.clone(),
            shards: u32::try_from(reply.shards).unwrap_or(u32::MAX),
            deadline: reply.deadline,
        };
        self.batch.changes.push(Change::Key(Box::new(row.clone())));
        self.idempotency_keys.insert(row);
    }
}

fn repeat_reply(row: &KeyRow) -> TeardownAccepted {
    let detail = if row.joined {
        DETAIL_IN_PROGRESS
    } else {
        DETAIL_QUEUED
    };
    TeardownAccepted {
        accepted: true,
        detail: detail.to_owned(),
        operation_id: row.operation,
        host_uuid: row.host.clone(),
        host_name: row.host_name.clone(),
        decky_id: row.decky.clone(),
        shards: row.shards as usize,
        deadline: row.deadline,
        repeated: true,
    }
}

/// Hashes the content of a request. Payloads that differ only in their formatting have the same
/// hash.
fn hash_request(request: &TeardownRequest) -> Uuid {
    let TeardownRequest {
        host_uuid,
        decky_id,
        timeout_s,
        dry_run: _,
        expect_plan,
        reason,
        override_protection,
    } = request;
    let timeout = timeout_s.to_string();
    let parts = [
        Some(host_uuid.as_str()),
        decky_id.as_ref().map(DeckyId::as_str),
        Some(&*timeout),
        expect_plan.as_deref(),
        reason.as_deref(),
    ];
    // A request without the override has the hash that earlier versions gave it.
    let protection = override_protection.then_some(Some("override_protection"));
    hash_texts(parts.into_iter().chain(protection))
}

#[cfg(test)]
mod tests {
    use scuttle_schemas::ErrorCode;

    use super::MAX_KEYS_PER_REQUESTER;
    use crate::api::Reply;
    use crate::tests::scenario::{Scenario, report};

    const REQUEST: &str = r#"{ "host_uuid": "h", "decky_id": "a" }"#;

    /// Returns a swarm in which `mallory` has used all keys for one open teardown.
    fn swarm_with_used_keys() -> Scenario {
        let mut swarm = Scenario::new();
        swarm.enroll("worker-h", Some("h")).expect("new");
        swarm.heartbeat("h", report(1, 1), Some(&["a"]));
        for number in 0..MAX_KEYS_PER_REQUESTER {
            let key = format!("key-{number}");
            let (reply, _) = swarm.teardown_json(REQUEST, Some(&key), "mallory");
            assert!(matches!(reply, Reply::Teardown(_)), "{reply:?}");
            swarm.advance_ms(1);
        }
        swarm
    }

    #[test]
    fn a_requester_that_has_used_all_keys_is_the_only_one_that_is_rejected() {
        for restarts in [false, true] {
            let mut swarm = swarm_with_used_keys();
            if restarts {
                swarm.crash_and_restart();
            }
            let (reply, _) = swarm.teardown_json(REQUEST, Some("new"), "mallory");
            let Reply::Rejected(error) = reply else {
                panic!("expected a rejection: {reply:?}");
            };
            assert_eq!(error.code, ErrorCode::Overloaded);
            let day_ms = 24 * 3600 * 1000;
            let retry_after_ms = error.retry_after_ms.expect("a delay");
            assert!((day_ms - 60_000..=day_ms).contains(&retry_after_ms));
            // A used key, a request without a key, and the same key of another requester.
            for (key, requester) in [
                (Some("key-7"), "mallory"),
                (None, "mallory"),
                (Some("key-7"), "alice"),
                (Some("new"), "alice"),
                (Some("new"), "unknown"),
            ] {
                let (reply, _) = swarm.teardown_json(REQUEST, key, requester);
                assert!(matches!(reply, Reply::Teardown(_)), "{key:?}: {reply:?}");
            }
        }
    }

    #[test]
    fn a_requester_gets_new_keys_when_the_oldest_expire() {
        let mut swarm = swarm_with_used_keys();
        swarm.teardown_json(REQUEST, Some("of-alice"), "alice");
        swarm.advance_ms(24 * 3600 * 1000 - 50);
        let mut accepted = 0;
        for number in 0..MAX_KEYS_PER_REQUESTER {
            let key = format!("later-{number}");
            let (reply, _) = swarm.teardown_json(r#"{ "host_uuid": "h" }"#, Some(&key), "mallory");
            accepted += usize::from(matches!(reply, Reply::Teardown(_)));
        }
        assert_eq!(accepted, 51, "as many as have expired");
        swarm.advance_ms(24 * 3600 * 1000);
        swarm.crash_and_restart();
        assert_eq!(swarm.state.idempotency_keys.next_expiry(), None);
    }
}
