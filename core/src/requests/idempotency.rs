//! Idempotency keys (`Nats-Msg-Id`): a request that is repeated with its key is answered as it was, for a
//! day, across restarts.

use scuttle_schemas::teardown::{
    DETAIL_IN_PROGRESS, DETAIL_QUEUED, TeardownAccepted, TeardownRequest,
};
use scuttle_schemas::{ErrorCode, ErrorReply, Timestamp};
use uuid::Uuid;

use crate::record::change::Change;
use crate::record::rows::{KeyId, KeyRow};
use crate::requests::hash::hash;
use crate::state::State;
use crate::state::keys::expired;

/// How many keys are kept: some 200 MB of them, and more than an operator sends in a day.
const MOST_KEYS: usize = 500_000;

/// A request that came with a key.
pub(crate) struct Keyed {
    id: KeyId,
    request: Uuid,
}

impl Keyed {
    pub(crate) fn new(requester: &str, key: &str, request: &TeardownRequest) -> Self {
        let id = KeyId {
            requester: requester.to_owned(),
            key: key.to_owned(),
        };
        Self {
            id,
            request: hash_of(request),
        }
    }
}

impl State {
    /// How a request with this key was answered, if one was.
    pub(crate) fn answered(
        &self,
        now: Timestamp,
        keyed: &Keyed,
    ) -> Result<Option<TeardownAccepted>, ErrorReply> {
        let row = self.keys.rows.get(&keyed.id);
        match row.filter(|row| !expired(row.answered_at, now)) {
            Some(row) if row.request == keyed.request => Ok(Some(answer(row))),
            Some(row) => Err(ErrorReply::new(
                ErrorCode::IdempotencyConflict,
                format!(
                    "the key was used at {} for another request, which made operation {}: take a new key for a new request",
                    row.answered_at, row.operation
                ),
            )),
            None if self.keys.rows.len() >= MOST_KEYS => Err(ErrorReply {
                retry_after_ms: (self.keys.expires_at())
                    .and_then(|at| u64::try_from(at.millis_since(now)).ok()),
                ..ErrorReply::new(
                    ErrorCode::Overloaded,
                    format!("{MOST_KEYS} idempotency keys are kept already: nothing was stored"),
                )
            }),
            None => Ok(None),
        }
    }

    /// Keeps the answer to a request with a key.
    pub(crate) fn keep_answer(&mut self, now: Timestamp, keyed: Keyed, answer: &TeardownAccepted) {
        let row = KeyRow {
            id: keyed.id,
            request: keyed.request,
            answered_at: now,
            operation: answer.operation_id,
            joined: answer.repeated,
            host: answer.host_uuid.clone(),
            host_name: answer.host_name.clone(),
            decky: answer.decky_id.clone(),
            shards: u32::try_from(answer.shards).unwrap_or(u32::MAX),
            deadline: answer.deadline,
        };
        self.batch.changes.push(Change::Key(Box::new(row.clone())));
        self.keys.insert(row);
    }
}

fn answer(row: &KeyRow) -> TeardownAccepted {
    TeardownAccepted {
        accepted: true,
        detail: if row.joined {
            DETAIL_IN_PROGRESS
        } else {
            DETAIL_QUEUED
        }
        .to_owned(),
        operation_id: row.operation,
        host_uuid: row.host.clone(),
        host_name: row.host_name.clone(),
        decky_id: row.decky.clone(),
        shards: row.shards as usize,
        deadline: row.deadline,
        repeated: true,
    }
}

/// A hash over all that a request asks for. (How its JSON was written makes no difference.)
fn hash_of(request: &TeardownRequest) -> Uuid {
    let TeardownRequest {
        host_uuid,
        decky_id,
        timeout_s,
        dry_run: _,
        expect_plan,
        reason,
    } = request;
    let timeout = timeout_s.to_string();
    let parts = [
        Some(host_uuid.as_str()),
        decky_id.as_ref().map(scuttle_schemas::DeckyId::as_str),
        Some(&*timeout),
        expect_plan.as_deref(),
        reason.as_deref(),
    ];
    hash(parts.into_iter())
}
