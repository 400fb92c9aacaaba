//! The idempotency keys in memory, grouped by requester, and their retention.

use std::collections::{BTreeMap, BTreeSet};

use scuttle_schemas::Timestamp;

use crate::record::rows::{KeyId, KeyRow};

/// The age at which a key expires, in milliseconds: 24 hours.
const RETENTION_MS: i64 = 24 * 3600 * 1000;

/// The idempotency keys of all requesters. A requester without keys takes no memory.
#[derive(Debug, Default)]
pub(crate) struct IdempotencyKeys {
    requesters: BTreeMap<String, RequesterKeys>,
    /// The requesters, ordered by the time of their oldest key.
    oldest: BTreeSet<(Timestamp, String)>,
}

/// The keys of one requester, with an index by age.
#[derive(Debug, Default)]
struct RequesterKeys {
    rows: BTreeMap<String, KeyRow>,
    by_age: BTreeSet<(Timestamp, String)>,
}

impl RequesterKeys {
    fn oldest(&self) -> Option<Timestamp> {
        self.by_age.first().map(|(at, _)| *at)
    }

    fn remove(&mut self, key: &str) {
        if let Some(row) = self.rows.remove(key) {
            self.by_age.remove(&(row.answered_at, row.id.key));
        }
    }
}

impl IdempotencyKeys {
    pub(crate) fn insert(&mut self, row: KeyRow) {
        self.update(&row.id.requester.clone(), |keys| {
            keys.remove(&row.id.key);
            keys.by_age.insert((row.answered_at, row.id.key.clone()));
            keys.rows.insert(row.id.key.clone(), row);
        });
    }

    pub(crate) fn remove(&mut self, id: &KeyId) {
        self.update(&id.requester, |keys| keys.remove(&id.key));
    }

    /// Changes the keys of a requester, and updates the index of the oldest keys.
    fn update(&mut self, requester: &str, change: impl FnOnce(&mut RequesterKeys)) {
        let keys = self.requesters.entry(requester.to_owned()).or_default();
        let before = keys.oldest();
        change(keys);
        let after = keys.oldest();
        if after.is_none() {
            self.requesters.remove(requester);
        }
        if before != after {
            if let Some(at) = before {
                self.oldest.remove(&(at, requester.to_owned()));
            }
            self.oldest
                .extend(after.map(|at| (at, requester.to_owned())));
        }
    }

    /// Returns the row of a key, or `None` if the key is unknown or has expired.
    pub(crate) fn get(&self, id: &KeyId, now: Timestamp) -> Option<&KeyRow> {
        let row = self.requesters.get(&id.requester)?.rows.get(&id.key);
        row.filter(|row| !has_expired(row.answered_at, now))
    }

    /// Returns the number of keys of one requester.
    pub(crate) fn count_of(&self, requester: &str) -> usize {
        let keys = self.requesters.get(requester);
        keys.map_or(0, |keys| keys.rows.len())
    }

    /// Returns the time at which the oldest key of one requester expires, or `None` if the
    /// requester has no keys.
    pub(crate) fn next_expiry_of(&self, requester: &str) -> Option<Timestamp> {
        let oldest = self.requesters.get(requester)?.oldest();
        oldest.map(|at| at.plus_millis(RETENTION_MS))
    }

    /// Returns the time at which the oldest of all keys expires, or `None` if there are no keys.
    pub(crate) fn next_expiry(&self) -> Option<Timestamp> {
        let oldest = self.oldest.first();
        oldest.map(|(at, _)| at.plus_millis(RETENTION_MS))
    }

    /// Removes the oldest of all keys if it has expired, and returns its id.
    pub(crate) fn remove_expired(&mut self, now: Timestamp) -> Option<KeyId> {
        let (_, requester) = (self.oldest.first()).filter(|(at, _)| has_expired(*at, now))?;
        let requester = requester.clone();
        let (_, key) = self.requesters.get(&requester)?.by_age.first()?;
        let key = key.clone();
        let id = KeyId { requester, key };
        self.remove(&id);
        Some(id)
    }
}

fn has_expired(answered_at: Timestamp, now: Timestamp) -> bool {
    answered_at.plus_millis(RETENTION_MS) <= now
}
