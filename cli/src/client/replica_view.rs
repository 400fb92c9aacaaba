//! A local copy of the records of one kind, built from listings and broadcasts.
//!
//! `live_view` first subscribes to broadcasts and then lists the records. For each record, the copy
//! keeps the highest revision. A missing revision shows that a broadcast was missed, so `live_view`
//! lists again. This file contains only the rules for the copy.

use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug)]
struct Entry<R> {
    /// The revision of the broadcast or listing that the record comes from.
    revision: u64,
    /// The record, or `None` (a tombstone) if the record has been removed.
    record: Option<R>,
}

/// A copy of the records of one kind.
#[derive(Debug)]
pub(crate) struct ReplicaView<K, R> {
    entries: BTreeMap<K, Entry<R>>,
    /// The highest revision of a listing or a later broadcast. 0 before the first listing.
    revision: u64,
    /// The revision of the first page of the last listing. `None` before the first listing.
    listed: Option<u64>,
}

/// One record of a listing.
#[derive(Debug, Clone)]
pub(crate) struct ListedRecord<K, R> {
    pub(crate) key: K,
    /// The revision of the record. If records of this kind have no revision, the listing's
    /// revision.
    pub(crate) revision: u64,
    pub(crate) record: R,
}

/// The keys of the records that a broadcast or a listing has changed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Changes<K> {
    /// The keys of the new and changed records.
    pub(crate) updated: Vec<K>,
    pub(crate) removed: Vec<K>,
    /// Whether an earlier broadcast was missed, so that the records must be listed again.
    pub(crate) gap: bool,
}

impl<K> Default for Changes<K> {
    fn default() -> Self {
        Self {
            updated: Vec::new(),
            removed: Vec::new(),
            gap: false,
        }
    }
}

/// Returns whether a broadcast with this revision shows that an earlier broadcast was missed.
///
/// `known` is the last revision that was broadcast or listed. `is_repeat` says whether the
/// broadcast contains no changes.
pub(crate) fn is_gap(known: u64, revision: u64, is_repeat: bool) -> bool {
    if is_repeat {
        // A repeat carries the last revision, so any difference is a gap. A lower revision means
        // that the controller has restored an older record.
        revision != known
    } else {
        revision > known + 1
    }
}

impl<K: Ord + Clone, R: PartialEq> ReplicaView<K, R> {
    pub(crate) fn new() -> Self {
        Self {
            entries: BTreeMap::new(),
            revision: 0,
            listed: None,
        }
    }

    /// Returns the highest revision of a listing or a later broadcast. Returns 0 before the first
    /// listing.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// Returns whether a listing has been applied.
    pub(crate) fn is_listed(&self) -> bool {
        self.listed.is_some()
    }

    pub(crate) fn get(&self, key: &K) -> Option<&R> {
        self.entries.get(key)?.record.as_ref()
    }

    /// Iterates over all existing records, in the order of their keys.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &R)> {
        let entries = self.entries.iter();
        entries.filter_map(|(key, entry)| Some((key, entry.record.as_ref()?)))
    }

    /// Applies a broadcast with the updated records and the keys of the removed records. If both
    /// lists are empty, the broadcast is a repeat of the last revision.
    pub(crate) fn apply_broadcast(
        &mut self,
        revision: u64,
        updated: Vec<(K, R)>,
        removed: Vec<K>,
    ) -> Changes<K> {
        let mut changes = Changes::default();
        let is_repeat = updated.is_empty() && removed.is_empty();
        changes.gap = self.listed.is_some() && is_gap(self.revision, revision, is_repeat);
        // The listing already contains this broadcast. Applying it now could restore records that
        // were removed before the listing.
        if self.listed.is_some_and(|listed| revision <= listed) {
            return changes;
        }
        for (key, record) in updated {
            self.merge(key, revision, Some(record), &mut changes);
        }
        for key in removed {
            self.merge(key, revision, None, &mut changes);
        }
        if self.listed.is_some() {
            self.revision = self.revision.max(revision);
        }
        changes
    }

    /// Applies a complete listing, and removes the records that are missing from it.
    /// `first_revision` is the revision of the listing's first page.
    pub(crate) fn apply_listing(
        &mut self,
        first_revision: u64,
        records: Vec<ListedRecord<K, R>>,
    ) -> Changes<K> {
        let mut changes = Changes::default();
        // Listings are applied in the order of their requests. A lower revision than that of the
        // last listing means that the controller has restored an older record, so no known revision
        // counts.
        if self.listed.is_some_and(|listed| first_revision < listed) {
            self.revision = 0;
            for entry in self.entries.values_mut() {
                entry.revision = 0;
            }
        }
        let listed: BTreeSet<K> = records.iter().map(|record| record.key.clone()).collect();
        for ListedRecord {
            key,
            revision,
            record,
        } in records
        {
            self.merge(key, revision, Some(record), &mut changes);
        }
        let removed = |(key, entry): (&K, &Entry<R>)| {
            let removed =
                entry.record.is_some() && entry.revision < first_revision && !listed.contains(key);
            removed.then(|| key.clone())
        };
        changes
            .removed
            .extend(self.entries.iter().filter_map(removed));
        // No broadcast that is still to come mentions records that were removed before the listing.
        self.entries
            .retain(|key, entry| listed.contains(key) || entry.revision >= first_revision);
        // There may have been gaps before the first listing. The revision of the next broadcast
        // shows them.
        self.revision = self.revision.max(first_revision);
        self.listed = Some(first_revision);
        changes
    }

    /// Drops the tombstones of removed records. Call this only while no listing is in progress: a
    /// listing could otherwise restore the records.
    pub(crate) fn forget(&mut self, removed: &[K]) {
        for key in removed {
            self.entries.remove(key);
        }
    }

    /// Stores a record, or a removal (`None`), unless a higher revision of the record is known.
    fn merge(&mut self, key: K, revision: u64, record: Option<R>, changes: &mut Changes<K>) {
        let known = self.entries.get(&key);
        if known.is_some_and(|known| known.revision > revision) {
            return;
        }
        match (&record, known.and_then(|known| known.record.as_ref())) {
            (Some(record), Some(known)) if record == known => {}
            (Some(_), _) => changes.updated.push(key.clone()),
            (None, Some(_)) => changes.removed.push(key.clone()),
            (None, None) => {}
        }
        self.entries.insert(key, Entry { revision, record });
    }
}

#[cfg(test)]
mod tests {
    use super::{ListedRecord, ReplicaView};

    type View = ReplicaView<&'static str, u32>;

    fn shown(view: &View) -> String {
        let pairs = view.iter().map(|(key, value)| format!("{key}{value}"));
        pairs.collect::<Vec<_>>().join(" ")
    }

    fn records(records: &[(&'static str, u64, u32)]) -> Vec<ListedRecord<&'static str, u32>> {
        let records = records.iter();
        records
            .map(|&(key, revision, record)| ListedRecord {
                key,
                revision,
                record,
            })
            .collect()
    }

    fn listed(first_revision: u64, list: &[(&'static str, u64, u32)]) -> View {
        let mut view = View::new();
        view.apply_listing(first_revision, records(list));
        view
    }

    #[test]
    fn broadcasts_in_order_are_applied() {
        let mut view = listed(5, &[("a", 3, 1), ("b", 5, 1)]);
        let changes = view.apply_broadcast(6, vec![("a", 2)], vec!["b"]);
        assert_eq!((changes.updated, changes.removed), (vec!["a"], vec!["b"]));
        assert!(!changes.gap);
        // A repeat of the last revision.
        assert!(!view.apply_broadcast(6, vec![], vec![]).gap);
        assert_eq!(shown(&view), "a2");
        assert_eq!(view.revision(), 6);
    }

    #[test]
    fn a_skipped_revision_or_an_unknown_repeat_is_a_gap() {
        let gap = |revision, updated: Vec<(&'static str, u32)>| {
            listed(5, &[])
                .apply_broadcast(revision, updated, vec![])
                .gap
        };
        assert!(gap(7, vec![("a", 1)]));
        assert!(gap(6, vec![]));
        assert!(!gap(6, vec![("a", 1)]));
    }

    #[test]
    fn a_broadcast_that_the_listing_contains_is_ignored() {
        let mut view = listed(5, &[]);
        let changes = view.apply_broadcast(4, vec![("a", 1)], vec![]);
        assert!(changes.updated.is_empty() && !changes.gap);
        assert_eq!(shown(&view), "");
    }

    #[test]
    fn a_listing_does_not_undo_newer_broadcasts() {
        let mut view = listed(5, &[("a", 5, 1), ("b", 5, 1), ("c", 2, 1)]);
        view.apply_broadcast(7, vec![("a", 3)], vec!["b"]);
        // The first page was read at revision 6, and `c` had been removed by then.
        let changes = view.apply_listing(6, records(&[("a", 6, 2), ("b", 6, 1)]));
        assert_eq!(changes.removed, ["c"]);
        assert_eq!(shown(&view), "a3");
        assert!(!view.apply_broadcast(8, vec![("d", 1)], vec![]).gap);
    }

    #[test]
    fn broadcasts_before_the_first_listing_are_kept_if_newer() {
        let mut view = View::new();
        assert!(!view.apply_broadcast(4, vec![("b", 9)], vec![]).gap);
        assert!(!view.apply_broadcast(6, vec![("a", 2)], vec![]).gap);
        view.apply_listing(5, records(&[("a", 5, 1), ("b", 5, 1)]));
        assert_eq!(shown(&view), "a2 b1");
        // There may have been a gap between the broadcasts that came before the listing.
        assert!(view.apply_broadcast(7, vec![("a", 3)], vec![]).gap);
    }

    #[test]
    fn a_removed_record_is_forgotten_when_no_listing_can_restore_it() {
        let mut view = listed(5, &[("a", 5, 1)]);
        view.apply_broadcast(6, vec![], vec!["a"]);
        view.forget(&["a"]);
        assert!(view.entries.is_empty());
    }

    #[test]
    fn a_listing_with_a_lower_revision_replaces_everything() {
        let mut view = listed(50, &[("a", 40, 1), ("b", 50, 1)]);
        assert!(view.apply_broadcast(5, vec![], vec![]).gap);
        let changes = view.apply_listing(5, records(&[("a", 3, 2)]));
        assert_eq!(changes.removed, ["b"]);
        assert_eq!(shown(&view), "a2");
        assert!(!view.apply_broadcast(6, vec![("c", 1)], vec![]).gap);
        assert_eq!(shown(&view), "a2 c1");
    }
}
