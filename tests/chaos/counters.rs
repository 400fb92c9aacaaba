//! Named counters of faults, requests and replies.

use std::collections::BTreeMap;
use std::sync::Mutex;

use scuttle_tests::wait::lock;

/// Counters by name, shared by all tasks.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    counts: Mutex<BTreeMap<&'static str, u64>>,
}

impl Counters {
    pub(crate) fn increment(&self, name: &'static str) {
        *lock(&self.counts).entry(name).or_default() += 1;
    }

    /// Returns a counter's value, or 0 if it was never incremented.
    pub(crate) fn get(&self, name: &'static str) -> u64 {
        lock(&self.counts).get(name).copied().unwrap_or(0)
    }
}
