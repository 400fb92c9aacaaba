//! Committing: appends decided batches to the journal, then releases their replies and effects to
//! be sent. Inputs are decided in `decide`, and messages are sent in `outbound`.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime};

use scuttle_core::{Effect, Reply};
use tokio::sync::mpsc::Sender;

use crate::engine::decide::PendingBatch;
use crate::engine::stats::EngineStats;
use crate::leadership::term::StopReason;
use crate::store::{Store, StoreError};

/// The journal length, in changes, above which an idle engine checkpoints the journal.
pub(crate) const IDLE_CHECKPOINT_THRESHOLD: usize = 4_096;

/// The duration without a newly decided batch after which the engine counts as idle.
const IDLE_DELAY: Duration = Duration::from_millis(50);

/// The maximum time between two checks of the journal.
const VERIFY_INTERVAL: Duration = Duration::from_millis(100);

/// The number of changes that one idle checkpoint moves to the rows, rounded up to whole batches.
/// Moving them takes 10 to 20 ms, after which the store thread looks for new batches.
pub(crate) const CHECKPOINT_CHANGES: usize = 1_000;

/// The journal length, in changes, above which the journal is checkpointed even under load. A
/// starting controller reads a journal of this length in one to two seconds.
pub const FORCED_CHECKPOINT_THRESHOLD: usize = 1_000_000;

/// The replies and effects of a batch that may now be sent. It is created in two ways:
///
/// - [`commit`] creates it after the batch is durable.
/// - [`PendingBatch::into_rejected`] replaces every reply with an error and drops all effects.
///
/// The publisher accepts no other type, so a reply cannot be sent before its change is durable.
#[derive(Debug)]
pub struct CommittedBatch<C> {
    /// The replies, each with the context of its request.
    pub replies: Vec<(C, Reply)>,
    /// The commands and broadcasts, in the order in which they are sent.
    pub effects: Vec<Effect>,
    /// The times at which the batch was decided and became durable. `None` unless traces are
    /// exported. This field is private, so that no other module can create a `CommittedBatch`.
    timing: Option<CommitTiming>,
}

/// The times at which a batch was decided and became durable.
#[derive(Debug, Clone, Copy)]
pub struct CommitTiming {
    pub decided_at: SystemTime,
    pub durable_at: SystemTime,
}

/// The error of a failed commit or checkpoint, with the batches that could not be committed.
/// Whether any changes of these batches are durable is unknown.
#[derive(Debug)]
pub struct CommitFailed<C> {
    pub error: Box<StoreError>,
    pub batches: Vec<PendingBatch<C>>,
}

impl<C> From<StoreError> for CommitFailed<C> {
    fn from(error: StoreError) -> Self {
        Self {
            error: Box::new(error),
            batches: Vec::new(),
        }
    }
}

impl<C> CommittedBatch<C> {
    /// Replaces every reply with the error of `reason` and drops all effects.
    #[must_use]
    pub fn into_rejected(mut self, reason: StopReason) -> Self {
        for (_, reply) in &mut self.replies {
            *reply = Reply::Rejected(reason.error_reply());
        }
        self.effects.clear();
        self
    }

    /// Returns the times at which the batch was decided and became durable, or `None` unless traces
    /// are exported.
    pub fn timing(&self) -> Option<CommitTiming> {
        self.timing
    }

    fn release(batch: PendingBatch<C>, durable_at: Option<SystemTime>) -> Self {
        let times = batch.decided_at.zip(durable_at);
        Self {
            replies: batch.replies,
            effects: batch.effects,
            timing: times.map(|(decided_at, durable_at)| CommitTiming {
                decided_at,
                durable_at,
            }),
        }
    }
}

impl<C> PendingBatch<C> {
    /// Replaces every reply with the error of `reason` and drops all effects, for a leader that
    /// stops before the batch is durable.
    #[must_use]
    pub fn into_rejected(self, reason: StopReason) -> CommittedBatch<C> {
        CommittedBatch::release(self, None).into_rejected(reason)
    }
}

/// Makes batches durable in one append, and returns them as batches that may be sent.
///
/// # Errors
/// If the append fails. The error contains the batches.
pub fn commit<C>(
    store: &mut dyn Store,
    batches: impl Iterator<Item = PendingBatch<C>>,
) -> Result<Vec<CommittedBatch<C>>, CommitFailed<C>> {
    let (mut changes, mut pending) = (Vec::new(), Vec::new());
    for mut batch in batches {
        changes.append(&mut batch.changes);
        pending.push(batch);
    }
    if !changes.is_empty()
        && let Err(error) = store.append(&changes)
    {
        return Err(CommitFailed {
            error: Box::new(error),
            batches: pending,
        });
    }
    let durable_at = scuttle_telemetry::now_if_enabled();
    let release = |batch| CommittedBatch::release(batch, durable_at);
    Ok(pending.into_iter().map(release).collect())
}

/// The part of the engine that writes to the store. It runs on the thread that calls `Engine::run`.
pub(super) struct Committer<'a, C> {
    pub(super) store: &'a mut dyn Store,
    pub(super) pending: &'a Receiver<PendingBatch<C>>,
    pub(super) outbox: &'a Sender<Vec<CommittedBatch<C>>>,
    pub(super) stats: &'a EngineStats,
}

impl<C> Committer<'_, C> {
    /// Commits decided batches and checkpoints the journal, until the deciding thread has ended.
    ///
    /// # Errors
    /// If an append or a checkpoint fails, or the journal has lost accepted changes.
    pub(super) fn run(&mut self) -> Result<(), CommitFailed<C>> {
        loop {
            self.stats.set_journal_len(self.store.journal_len());
            self.stats
                .set_foreign_messages(self.store.foreign_messages());
            let timeout = if self.store.journal_len() > IDLE_CHECKPOINT_THRESHOLD {
                IDLE_DELAY
            } else {
                VERIFY_INTERVAL
            };
            let first = match self.pending.recv_timeout(timeout) {
                Ok(first) => first,
                Err(RecvTimeoutError::Timeout) => {
                    self.store.verify()?;
                    if self.store.journal_len() > IDLE_CHECKPOINT_THRESHOLD
                        || self.store.is_checkpoint_due()
                    {
                        self.checkpoint(CHECKPOINT_CHANGES)?;
                    }
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            };
            let (journal_len, started) = (self.store.journal_len(), Instant::now());
            let batches = std::iter::once(first).chain(self.pending.try_iter());
            let batches = batches.inspect(|_| self.stats.batch_taken());
            let committed = commit(self.store, batches)?;
            let changes = self.store.journal_len() - journal_len;
            self.stats.record_commit(changes, started.elapsed());
            // Fails when the publisher is gone. The changes are durable all the same.
            let _ = self.outbox.blocking_send(committed);
            self.store.verify()?;
            if self.store.journal_len() > FORCED_CHECKPOINT_THRESHOLD {
                self.checkpoint(2 * changes)?;
            }
        }
    }

    /// Moves the whole journal to the rows.
    pub(super) fn checkpoint_all(&mut self) -> Result<(), StoreError> {
        while self.store.journal_len() > 0 {
            self.checkpoint(CHECKPOINT_CHANGES)?;
        }
        Ok(())
    }

    fn checkpoint(&mut self, changes: usize) -> Result<(), StoreError> {
        let started = Instant::now();
        self.store.checkpoint(changes)?;
        self.stats.record_checkpoint(started.elapsed());
        Ok(())
    }
}
