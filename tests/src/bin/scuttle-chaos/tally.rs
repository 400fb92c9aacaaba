//! What was counted, and when the network or the controller gave a reason for a lost message.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How much earlier than its loss a message may have been seen: the programs share two or three processors.
const SLACK: Duration = Duration::from_millis(1500);

/// Counters by name, shared by all that runs.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    counts: Mutex<BTreeMap<&'static str, u64>>,
    reasons: Mutex<Vec<Instant>>,
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

    /// Now messages of the controller may be lost for everybody.
    pub(crate) fn excuse(&self) {
        lock(&self.reasons).push(Instant::now());
    }

    /// Whether messages may have been lost for everybody after one that came at `since`.
    pub(crate) fn excused(&self, since: Instant) -> bool {
        lock(&self.reasons)
            .iter()
            .any(|reason| *reason + SLACK >= since)
    }
}

/// A lock that a panic elsewhere does not take away.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
