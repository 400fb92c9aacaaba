//! Keys.

use std::collections::{BTreeMap, BTreeSet};

use scuttle_schemas::Timestamp;

use crate::record::rows::{KeyId, KeyRow};

/// How long a key is kept, in milliseconds: 24 hours.
const KEPT_MS: i64 = 24 * 3600 * 1000;

/// The keys, and which expires first.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    pub(crate) rows: BTreeMap<KeyId, KeyRow>,
    by_age: BTreeSet<(Timestamp, KeyId)>,
}

impl Keys {
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

    /// When the oldest expires.
    pub(crate) fn expires_at(&self) -> Option<Timestamp> {
        self.by_age.first().map(|(at, _)| at.plus_millis(KEPT_MS))
    }

    /// Removes the oldest, if it has expired.
    pub(crate) fn take_expired(&mut self, now: Timestamp) -> Option<KeyId> {
        let (_, id) = (self.by_age.first()).filter(|(at, _)| expired(*at, now))?;
        let id = id.clone();
        self.remove(&id);
        Some(id)
    }
}

pub(crate) fn expired(answered_at: Timestamp, now: Timestamp) -> bool {
    answered_at.plus_millis(KEPT_MS) <= now
}
