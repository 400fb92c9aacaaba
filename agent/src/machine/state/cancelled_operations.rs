//! The operations that were cancelled before they started.

use std::collections::BTreeSet;

use scuttle_schemas::teardown::MAX_TIMEOUT_S;
use scuttle_schemas::{OperationId, Timestamp};

use crate::ledger::Entry;

/// How long a cancelled operation is kept after the controller accepted it, in milliseconds: the
/// longest timeout of a teardown, plus twice the tolerated clock skew. Later copies of the command
/// have expired.
const RETENTION_MS: i64 = MAX_TIMEOUT_S as i64 * 1000 + 120_000;

/// The largest number of cancelled operations that are kept, which is more than a host has
/// operations in a day. The oldest are dropped first.
const MAX_CANCELLED: usize = 16_384;

/// The ids of the cancelled operations. Ids sort by age.
#[derive(Debug, Default)]
pub(crate) struct CancelledOperations(BTreeSet<OperationId>);

impl CancelledOperations {
    /// Adds an operation that the ledger lists, at start.
    pub(crate) fn restore(&mut self, operation_id: OperationId) {
        self.0.insert(operation_id);
    }

    /// Adds an operation. Returns false if it was already cancelled.
    pub(crate) fn insert(&mut self, operation_id: OperationId) -> bool {
        let is_new = self.0.insert(operation_id);
        if is_new && self.0.len() > MAX_CANCELLED {
            self.0.pop_first();
        }
        is_new
    }

    pub(crate) fn contains(&self, operation_id: OperationId) -> bool {
        self.0.contains(&operation_id)
    }

    /// Removes the operations whose command can no longer arrive in time.
    pub(crate) fn remove_expired(&mut self, now: Timestamp) {
        self.0
            .retain(|id| now.millis_since(accepted_at(*id)) <= RETENTION_MS);
    }

    pub(crate) fn to_entries(&self) -> impl Iterator<Item = Entry> {
        self.0
            .iter()
            .map(|id| Entry::Cancelled { operation_id: *id })
    }
}

/// Returns the time at which the controller accepted an operation: a `UUIDv7` has its milliseconds
/// above bit 80.
fn accepted_at(id: OperationId) -> Timestamp {
    const MILLISECONDS: u32 = 80;
    Timestamp::from_millis((id.0.as_u128() >> MILLISECONDS) as i64)
}
