//! Statistics that the engine's two threads, or a follower, update. Only `metrics` reads them. A
//! read takes too little time to delay the engine noticeably.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::histogram::Histogram;
use scuttle_core::Stats;

/// The histogram buckets for the duration of a commit or a checkpoint, in seconds: from an fsync on
/// a fast SSD to a disk that hangs.
const SECONDS_BUCKETS: [f64; 16] = [
    0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];

/// The histogram buckets for the number of changes in one append: from one operation to several
/// full batches.
const CHANGES_BUCKETS: [f64; 8] = [1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0];

/// The statistics of the engine of one partition.
#[derive(Debug)]
pub struct EngineStats {
    /// The core's statistics as of the last decided batch. `None` while this controller does not
    /// lead. The lock is held only while the statistics are copied.
    state_stats: Mutex<Option<Stats>>,
    /// The number of decided batches that wait for the committing thread.
    pending_batches: AtomicUsize,
    /// The number of changes in the journal.
    journal_len: AtomicUsize,
    /// The number of messages of the journal that were skipped as foreign.
    foreign_messages: AtomicU64,
    /// The number of streams and buckets whose number of replicas differs from --replicas.
    replica_differences: AtomicUsize,
    /// The histogram of the number of changes in each append.
    pub(crate) commit_changes: Histogram,
    /// The histogram of the time that each append took until its changes were durable, in seconds.
    pub(crate) commit_seconds: Histogram,
    pub(crate) checkpoint_seconds: Histogram,
}

impl Default for EngineStats {
    fn default() -> Self {
        Self {
            state_stats: Mutex::default(),
            pending_batches: AtomicUsize::new(0),
            journal_len: AtomicUsize::new(0),
            foreign_messages: AtomicU64::new(0),
            replica_differences: AtomicUsize::new(0),
            commit_changes: Histogram::new(CHANGES_BUCKETS),
            commit_seconds: Histogram::new(SECONDS_BUCKETS),
            checkpoint_seconds: Histogram::new(SECONDS_BUCKETS),
        }
    }
}

impl EngineStats {
    /// Returns new statistics for another partition's engine, which share the histograms of commits
    /// and checkpoints with `self`.
    pub(crate) fn new_for_other_partition(&self) -> Self {
        Self {
            state_stats: Mutex::default(),
            pending_batches: AtomicUsize::new(0),
            journal_len: AtomicUsize::new(0),
            foreign_messages: AtomicU64::new(0),
            replica_differences: AtomicUsize::new(0),
            commit_changes: self.commit_changes.clone(),
            commit_seconds: self.commit_seconds.clone(),
            checkpoint_seconds: self.checkpoint_seconds.clone(),
        }
    }

    /// Records the core's statistics after a batch has been decided.
    pub(crate) fn record_state_stats(&self, state_stats: Stats) {
        *self
            .state_stats
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(state_stats);
    }

    /// Removes the core's statistics. A follower calls this, because it decides nothing.
    pub(crate) fn clear_state_stats(&self) {
        *self
            .state_stats
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Records that a batch was queued for the committing thread.
    pub(crate) fn batch_queued(&self) {
        self.pending_batches.fetch_add(1, Ordering::Relaxed);
    }

    /// Records that the committing thread has taken a batch.
    pub(crate) fn batch_taken(&self) {
        self.pending_batches.fetch_sub(1, Ordering::Relaxed);
    }

    /// Records an append that has become durable. An append without changes is not counted.
    pub(crate) fn record_commit(&self, changes: usize, took: Duration) {
        if changes > 0 {
            self.commit_changes.observe(changes as f64);
            self.commit_seconds.observe(took.as_secs_f64());
        }
    }

    pub(crate) fn record_checkpoint(&self, took: Duration) {
        self.checkpoint_seconds.observe(took.as_secs_f64());
    }

    pub(crate) fn set_journal_len(&self, changes: usize) {
        self.journal_len.store(changes, Ordering::Relaxed);
    }

    pub(crate) fn set_foreign_messages(&self, count: u64) {
        self.foreign_messages.store(count, Ordering::Relaxed);
    }

    pub(crate) fn set_replica_differences(&self, count: usize) {
        self.replica_differences.store(count, Ordering::Relaxed);
    }

    pub(crate) fn replica_differences(&self) -> usize {
        self.replica_differences.load(Ordering::Relaxed)
    }

    pub(crate) fn foreign_messages(&self) -> u64 {
        self.foreign_messages.load(Ordering::Relaxed)
    }

    /// Returns the core's statistics as of the last decided batch, or `None` while this controller
    /// does not lead.
    pub(crate) fn state_stats(&self) -> Option<Stats> {
        *self
            .state_stats
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn pending_batches(&self) -> usize {
        self.pending_batches.load(Ordering::Relaxed)
    }

    pub(crate) fn journal_len(&self) -> usize {
        self.journal_len.load(Ordering::Relaxed)
    }
}
