//! Deciding: steps the core once for each input of a batch. Making the outcome durable is in
//! `commit`, sending it is in `outbound`.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, SystemTime};

use scuttle_core::{Change, Commit, Effect, Input, Reply, State};
use scuttle_schemas::Timestamp;

use crate::engine::stats::EngineStats;

/// The maximum number of inputs in one batch. A larger batch spreads its per-batch cost over more
/// inputs; a smaller one shortens the wait of its first input.
const MAX_BATCH: usize = 1024;

/// The longest wait for an input. The wait is bounded so that the clock is read at least this
/// often, in case it was set back.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// One input, with the context of the request that contained it.
#[derive(Debug)]
pub struct Job<C> {
    pub input: Input,
    /// `None` for the first input, `Start`, which does not come from a message.
    pub context: Option<C>,
}

/// The outcome of a batch whose changes are not durable yet. No part of the outcome may be sent
/// before `commit` has turned it into a [`CommittedBatch`](super::CommittedBatch).
#[derive(Debug)]
pub struct PendingBatch<C> {
    pub(super) changes: Vec<Change>,
    pub(super) replies: Vec<(C, Reply)>,
    pub(super) effects: Vec<Effect>,
    /// The time of the decision, if traces are exported.
    pub(super) decided_at: Option<SystemTime>,
}

impl<C> PendingBatch<C> {
    /// Returns whether there is nothing to store and nothing to send.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.replies.is_empty() && self.effects.is_empty()
    }
}

/// The thread that owns the state.
pub(super) struct Decider<C, N> {
    pub(super) state: State,
    pub(super) jobs: Receiver<Job<C>>,
    pub(super) pending: SyncSender<PendingBatch<C>>,
    pub(super) stats: Arc<EngineStats>,
    pub(super) now: N,
}

impl<C, N: Fn() -> Timestamp> Decider<C, N> {
    /// Decides the inputs that arrive, until every sender of jobs is dropped or the committing
    /// thread has ended.
    pub(super) fn run(mut self) {
        let mut jobs = vec![Job {
            input: Input::Start,
            context: None,
        }];
        loop {
            let batch = decide(&mut self.state, jobs.drain(..), (self.now)());
            self.stats.record_state_stats(self.state.stats());
            if !batch.is_empty() {
                self.stats.batch_queued();
                if self.pending.send(batch).is_err() {
                    return;
                }
            }
            let timeout = next_timeout(&self.state, (self.now)());
            match self.jobs.recv_timeout(timeout) {
                Ok(job) => jobs.push(job),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            jobs.extend(self.jobs.try_iter().take(MAX_BATCH - jobs.len()));
        }
    }
}

/// Returns the longest time to wait for an input. After this time, [`decide`] is called without an
/// input.
pub fn next_timeout(state: &State, now: Timestamp) -> Duration {
    let wait = u64::try_from(state.next_deadline().millis_since(now)).unwrap_or(0);
    Duration::from_millis(wait).min(MAX_WAIT)
}

/// Decides one batch and the timers that are due at `now`.
pub fn decide<C>(
    state: &mut State,
    jobs: impl ExactSizeIterator<Item = Job<C>>,
    now: Timestamp,
) -> PendingBatch<C> {
    let idle = jobs.len() == 0;
    let mut replies = Vec::with_capacity(jobs.len());
    for Job { input, context } in jobs {
        let reply = state.step(now, input);
        replies.extend(context.zip(reply));
    }
    if idle || state.next_deadline() <= now {
        state.step(now, Input::Tick);
    }
    let Commit { changes, effects } = state.close(now);
    PendingBatch {
        changes,
        replies,
        effects,
        decided_at: scuttle_telemetry::now_if_enabled(),
    }
}
