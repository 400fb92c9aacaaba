//! The operations that were cancelled before they started.

use std::collections::BTreeSet;

use scuttle_schemas::teardown::MAX_TIMEOUT_S;
use scuttle_schemas::{OperationId, Timestamp};

use crate::ledger::Entry;

/// The retention of a cancelled operation in milliseconds, counted from the time at which the
/// controller accepted the operation: the longest timeout of a teardown, plus twice the tolerated
/// clock skew. Any copy of the command that arrives later has expired.
const RETENTION_MS: i64 = MAX_TIMEOUT_S as i64 * 1000 + 120_000;

/// The maximum number of cancelled operations that are kept. A host is not expected to have as many
/// in one day. The oldest operations are dropped first.
const MAX_CANCELLED: usize = 16_384;

/// The ids of the cancelled operations. Ids sort by age.
#[derive(Debug, Default)]
pub(crate) struct CancelledOperations(BTreeSet<OperationId>);

impl CancelledOperations {
    /// Adds an operation from the ledger at the start of a boot.
    pub(crate) fn restore(&mut self, operation_id: OperationId) {
        self.0.insert(operation_id);
    }

    /// Adds an operation, and drops the oldest one if there are too many. Returns false if the
    /// operation was already present.
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

    /// Removes the operations whose command has expired, so that a further copy would not be
    /// executed.
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

/// Returns the time at which the controller accepted an operation: the timestamp in its `UUIDv7`,
/// which starts at bit 80.
fn accepted_at(id: OperationId) -> Timestamp {
    const MILLISECONDS: u32 = 80;
    Timestamp::from_millis((id.0.as_u128() >> MILLISECONDS) as i64)
}
