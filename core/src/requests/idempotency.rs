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

/// The maximum number of keys that are kept. These keys take about 200 MB of memory. Operators send
/// fewer keys in a day.
const MAX_KEYS: usize = 500_000;

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
    /// and the limit of keys is reached.
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
                        "the key was used at {at} for a different request, which has operation \
                         {operation}: use a new key for a new request"
                    ),
                ))
            }
            None if keys.len() >= MAX_KEYS => Err(ErrorReply {
                retry_after_ms: (keys.next_expiry())
                    .and_then(|at| u64::try_from(at.millis_since(now)).ok()),
                ..ErrorReply::new(
                    ErrorCode::Overloaded,
                    format!("the limit of {MAX_KEYS} idempotency keys is reached"),
                )
            }),
            None => Ok(None),
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
