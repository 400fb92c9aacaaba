//! What the engine's two threads show of themselves while they work: once a batch, so that nothing waits for who looks.
//! Nobody but `metrics` reads it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::histogram::Histogram;
use scuttle_core::Stats;

/// A commit takes what an fsync takes: from a fast SSD to a disk that hangs.
const SECONDS: [f64; 16] = [
    0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];

/// Changes in one append: from one operation to four full batches.
const CHANGES: [f64; 8] = [1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0];

/// How the engine is.
#[derive(Debug)]
pub struct EngineStats {
    /// None unless it leads. LeaseGuard for a copy of some numbers, on either side.
    census: Mutex<Option<Stats>>,
    /// Batches that were decided and wait for the thread that commits.
    decided: AtomicUsize,
    /// Changes in the journal.
    journal: AtomicUsize,
    /// Changes in each append.
    pub(crate) commit_changes: Histogram,
    /// What each append took, until it was on disk.
    pub(crate) commit_seconds: Histogram,
    /// What each checkpoint took.
    pub(crate) checkpoint_seconds: Histogram,
}

impl Default for EngineStats {
    fn default() -> Self {
        Self {
            census: Mutex::default(),
            decided: AtomicUsize::new(0),
            journal: AtomicUsize::new(0),
            commit_changes: Histogram::new(CHANGES),
            commit_seconds: Histogram::new(SECONDS),
            checkpoint_seconds: Histogram::new(SECONDS),
        }
    }
}

impl EngineStats {
    /// Of another engine of this process: commits and checkpoints are counted together.
    pub(crate) fn beside(&self) -> Self {
        Self {
            census: Mutex::default(),
            decided: AtomicUsize::new(0),
            journal: AtomicUsize::new(0),
            commit_changes: self.commit_changes.clone(),
            commit_seconds: self.commit_seconds.clone(),
            checkpoint_seconds: self.checkpoint_seconds.clone(),
        }
    }

    /// A batch was decided: the record as it now is.
    pub(crate) fn decided(&self, census: Stats) {
        *self.census.lock().unwrap_or_else(PoisonError::into_inner) = Some(census);
    }

    /// Whoever follows does not decide: what is on record, and what is due, the one that leads shows.
    pub(crate) fn follows(&self) {
        *self.census.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// A batch goes to the thread that commits.
    pub(crate) fn handed_on(&self) {
        self.decided.fetch_add(1, Ordering::Relaxed);
    }

    /// That thread has taken it.
    pub(crate) fn taken(&self) {
        self.decided.fetch_sub(1, Ordering::Relaxed);
    }

    /// So many changes were appended to the journal, and are durable.
    pub(crate) fn committed(&self, changes: usize, took: Duration) {
        if changes > 0 {
            self.commit_changes.observe(changes as f64);
            self.commit_seconds.observe(took.as_secs_f64());
        }
    }

    /// A checkpoint was made.
    pub(crate) fn checkpointed(&self, took: Duration) {
        self.checkpoint_seconds.observe(took.as_secs_f64());
    }

    /// The journal has so many changes.
    pub(crate) fn journal_is(&self, changes: usize) {
        self.journal.store(changes, Ordering::Relaxed);
    }

    /// The record when the last batch was decided.
    pub(crate) fn census(&self) -> Option<Stats> {
        *self.census.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Batches that were decided and wait.
    pub(crate) fn waiting(&self) -> usize {
        self.decided.load(Ordering::Relaxed)
    }

    /// Changes in the journal.
    pub(crate) fn journal(&self) -> usize {
        self.journal.load(Ordering::Relaxed)
    }
}
