//! The idempotency keys in memory, and their retention.

use std::collections::{BTreeMap, BTreeSet};

use scuttle_schemas::Timestamp;

use crate::record::rows::{KeyId, KeyRow};

/// The age at which a key expires, in milliseconds: 24 hours.
const RETENTION_MS: i64 = 24 * 3600 * 1000;

/// The idempotency keys, with an index by age.
#[derive(Debug, Default)]
pub(crate) struct IdempotencyKeys {
    rows: BTreeMap<KeyId, KeyRow>,
    by_age: BTreeSet<(Timestamp, KeyId)>,
}

impl IdempotencyKeys {
    pub(crate) fn insert(&mut self, row: KeyRow) {
        self.remove(&row.id);
        self.by_age.insert((row.answered_at, row.id.clone()));
        self.rows.insert(row.id.clone(), row);
    }

    pub(crate) fn remove(&mut self, id: &KeyId) {
        if let Some(row) = self.rows.remove(id) {
            self.by_age.remove(&(row.answered_at, row.id));
        }
    }

    /// Returns the row of a key, or `None` if the key is unknown or has expired.
    pub(crate) fn get(&self, id: &KeyId, now: Timestamp) -> Option<&KeyRow> {
        let row = self.rows.get(id);
        row.filter(|row| !has_expired(row.answered_at, now))
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Returns the time at which the oldest key expires, or `None` if there are no keys.
    pub(crate) fn next_expiry(&self) -> Option<Timestamp> {
        let oldest = self.by_age.first();
        oldest.map(|(at, _)| at.plus_millis(RETENTION_MS))
    }

    /// Removes the oldest key if it has expired, and returns its id.
    pub(crate) fn remove_expired(&mut self, now: Timestamp) -> Option<KeyId> {
        let (_, id) = (self.by_age.first()).filter(|(at, _)| has_expired(*at, now))?;
        let id = id.clone();
        self.remove(&id);
        Some(id)
    }
}

fn has_expired(answered_at: Timestamp, now: Timestamp) -> bool {
    answered_at.plus_millis(RETENTION_MS) <= now
}
