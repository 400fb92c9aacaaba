//! A view without gaps: what was listed, and what was told since. Subscribe first, then list; keep of each thing what was told
//! last; list again where a revision is missing. This is the rule alone: who asks for the lists is `live`.

use std::collections::{BTreeMap, BTreeSet};

/// What is known of one thing.
#[derive(Debug)]
struct Entry<R> {
    /// The message or the listing that told it.
    revision: u64,
    /// None: it is gone.
    record: Option<R>,
}

/// A copy of one kind of record.
#[derive(Debug)]
pub(crate) struct Mirror<K, R> {
    entries: BTreeMap<K, Entry<R>>,
    /// The highest revision that was told or listed.
    revision: u64,
    /// The revision of the last listing's first page; none before the first.
    listed: Option<u64>,
}

/// What a message or a listing changed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Changes<K> {
    /// Now there, or other than before.
    pub(crate) updated: Vec<K>,
    /// Now gone.
    pub(crate) removed: Vec<K>,
    /// A message is missing: list again.
    pub(crate) missed: bool,
}

/// Whether a message shows that one before it did not come, where `known` is the last revision that was heard or listed.
pub(crate) fn is_missed(known: u64, revision: u64, repeats: bool) -> bool {
    if repeats {
        // It repeats the last revision, so another one than ours is missed, too: a lower one, where the controller's record went
        // back.
        revision != known
    } else {
        revision > known + 1
    }
}

impl<K> Default for Changes<K> {
    fn default() -> Self {
        Self {
            updated: Vec::new(),
            removed: Vec::new(),
            missed: false,
        }
    }
}

impl<K: Ord + Clone, R: PartialEq> Mirror<K, R> {
    /// Nothing is known.
    pub(crate) fn new() -> Self {
        Self {
            entries: BTreeMap::new(),
            revision: 0,
            listed: None,
        }
    }

    /// The highest revision that is known.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// Whether a listing has been taken in.
    pub(crate) fn is_listed(&self) -> bool {
        self.listed.is_some()
    }

    /// One record.
    pub(crate) fn get(&self, key: &K) -> Option<&R> {
        self.entries.get(key)?.record.as_ref()
    }

    /// All that are there, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &R)> {
        let entries = self.entries.iter();
        entries.filter_map(|(key, entry)| Some((key, entry.record.as_ref()?)))
    }

    /// A broadcast: what changed (with what it is now) and what went.
    pub(crate) fn told(
        &mut self,
        revision: u64,
        updated: Vec<(K, R)>,
        removed: Vec<K>,
    ) -> Changes<K> {
        let mut changes = Changes::default();
        let repeats = updated.is_empty() && removed.is_empty();
        changes.missed = self.listed.is_some() && is_missed(self.revision, revision, repeats);
        // The listing contains it: late, it would bring back what the listing no longer had.
        if self.listed.is_some_and(|listed| revision <= listed) {
            return changes;
        }
        for (key, record) in updated {
            self.keep(key, revision, Some(record), &mut changes);
        }
        for key in removed {
            self.keep(key, revision, None, &mut changes);
        }
        if self.listed.is_some() {
            self.revision = self.revision.max(revision);
        }
        changes
    }

    /// A whole listing: each record with its revision, or that of the first page.
    pub(crate) fn listed(&mut self, first: u64, records: Vec<(K, u64, R)>) -> Changes<K> {
        let mut changes = Changes::default();
        // Listings follow one another, so a lower one than the last is of a record that went back: nothing of the old one holds.
        if self.listed.is_some_and(|listed| first < listed) {
            self.revision = 0;
            for entry in self.entries.values_mut() {
                entry.revision = 0;
            }
        }
        let there: BTreeSet<K> = records.iter().map(|(key, _, _)| key.clone()).collect();
        for (key, revision, record) in records {
            self.keep(key, revision, Some(record), &mut changes);
        }
        let gone = |(key, entry): (&K, &Entry<R>)| {
            let old = entry.record.is_some() && entry.revision < first && !there.contains(key);
            old.then(|| key.clone())
        };
        changes.removed.extend(self.entries.iter().filter_map(gone));
        // What is known to be gone since before the listing is not told of any more.
        let kept = |key: &K, entry: &mut Entry<R>| there.contains(key) || entry.revision >= first;
        self.entries.retain(kept);
        // What came before the first listing may have had gaps: the next message's number tells.
        self.revision = self.revision.max(first);
        self.listed = Some(first);
        changes
    }

    /// Forgets that these are gone: while no listing is under way, none can bring them back.
    pub(crate) fn forget(&mut self, removed: &[K]) {
        for key in removed {
            self.entries.remove(key);
        }
    }

    fn keep(&mut self, key: K, revision: u64, record: Option<R>, changes: &mut Changes<K>) {
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
    use super::Mirror;

    type Names = Mirror<&'static str, u32>;

    fn shown(mirror: &Names) -> String {
        let pairs = mirror.iter().map(|(key, value)| format!("{key}{value}"));
        pairs.collect::<Vec<_>>().join(" ")
    }

    fn listed(first: u64, records: &[(&'static str, u64, u32)]) -> Names {
        let mut mirror = Mirror::new();
        mirror.listed(first, records.to_vec());
        mirror
    }

    #[test]
    fn what_is_told_in_order_is_kept() {
        let mut mirror = listed(5, &[("a", 3, 1), ("b", 5, 1)]);
        let changes = mirror.told(6, vec![("a", 2)], vec!["b"]);
        assert_eq!((changes.updated, changes.removed), (vec!["a"], vec!["b"]));
        assert!(!changes.missed);
        // The repeat of the last revision.
        assert!(!mirror.told(6, vec![], vec![]).missed);
        assert_eq!(shown(&mirror), "a2");
        assert_eq!(mirror.revision(), 6);
    }

    #[test]
    fn a_jump_or_an_unknown_repeat_is_a_gap() {
        assert!(listed(5, &[]).told(7, vec![("a", 1)], vec![]).missed);
        assert!(listed(5, &[]).told(6, vec![], vec![]).missed);
        assert!(!listed(5, &[]).told(6, vec![("a", 1)], vec![]).missed);
    }

    #[test]
    fn what_the_listing_contains_is_not_told_again() {
        let mut mirror = listed(5, &[]);
        let changes = mirror.told(4, vec![("a", 1)], vec![]);
        assert!(changes.updated.is_empty() && !changes.missed);
        assert_eq!(shown(&mirror), "");
    }

    #[test]
    fn a_listing_does_not_undo_what_was_told_meanwhile() {
        let mut mirror = listed(5, &[("a", 5, 1), ("b", 5, 1), ("c", 2, 1)]);
        mirror.told(7, vec![("a", 3)], vec!["b"]);
        // Its first page was taken at 6; `c` has gone by then.
        let changes = mirror.listed(6, vec![("a", 6, 2), ("b", 6, 1)]);
        assert_eq!(changes.removed, ["c"]);
        assert_eq!(shown(&mirror), "a3");
        assert!(!mirror.told(8, vec![("d", 1)], vec![]).missed);
    }

    #[test]
    fn what_is_told_before_the_first_listing_is_kept_where_it_is_newer() {
        let mut mirror = Names::new();
        assert!(!mirror.told(4, vec![("b", 9)], vec![]).missed);
        assert!(!mirror.told(6, vec![("a", 2)], vec![]).missed);
        mirror.listed(5, vec![("a", 5, 1), ("b", 5, 1)]);
        assert_eq!(shown(&mirror), "a2 b1");
        // Nobody knows whether there was anything between what was told.
        assert!(mirror.told(7, vec![("a", 3)], vec![]).missed);
    }

    #[test]
    fn what_is_gone_is_forgotten_where_no_listing_can_bring_it_back() {
        let mut mirror = listed(5, &[("a", 5, 1)]);
        mirror.told(6, vec![], vec!["a"]);
        mirror.forget(&["a"]);
        assert!(mirror.entries.is_empty());
    }
    #[test]
    fn a_record_that_went_back_is_read_anew() {
        let mut mirror = listed(50, &[("a", 40, 1), ("b", 50, 1)]);
        assert!(mirror.told(5, vec![], vec![]).missed);
        let changes = mirror.listed(5, vec![("a", 3, 2)]);
        assert_eq!(changes.removed, ["b"]);
        assert_eq!(shown(&mirror), "a2");
        assert!(!mirror.told(6, vec![("c", 1)], vec![]).missed);
        assert_eq!(shown(&mirror), "a2 c1");
    }
}
