//! What was counted.

use std::collections::BTreeMap;
use std::sync::Mutex;

use scuttle_tests::wait::lock;

/// Counters by name, shared by all that runs.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    counts: Mutex<BTreeMap<&'static str, u64>>,
}

impl Tally {
    /// One more.
    pub(crate) fn count(&self, what: &'static str) {
        *lock(&self.counts).entry(what).or_default() += 1;
    }

    /// How many.
    pub(crate) fn of(&self, what: &'static str) -> u64 {
        lock(&self.counts).get(what).copied().unwrap_or(0)
    }
}
