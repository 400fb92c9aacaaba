//! Deciding: steps the core once for each input of a batch. The outcome is made durable in `commit`
//! and sent in `outbound`.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, SystemTime};

use scuttle_core::{Change, Commit, Effect, Input, MessageLimits, Reply, State};
use scuttle_nats::check_max_payload;
use scuttle_schemas::Timestamp;
use tracing::error;

use crate::engine::stats::EngineStats;

/// The maximum number of inputs in one batch. A larger batch spreads its fixed cost over more
/// inputs; a smaller batch makes its first input wait less.
const MAX_BATCH: usize = 1024;

/// The maximum wait for an input. The clock is read at least this often, in case it was set back.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// One input, with the context of the request that contained it. The context is needed to send the
/// reply.
#[derive(Debug)]
pub struct Job<C> {
    pub input: Input,
    /// The context of the request. `None` for the first input, [`Input::Start`], which does not
    /// come from a message.
    pub context: Option<C>,
}

/// The outcome of a batch whose changes are not durable yet. No part of the outcome may be sent
/// before `commit` has turned it into a [`CommittedBatch`](super::CommittedBatch).
#[derive(Debug)]
pub struct PendingBatch<C> {
    pub(super) changes: Vec<Change>,
    pub(super) replies: Vec<(C, Reply)>,
    pub(super) effects: Vec<Effect>,
    /// The time at which the batch was decided. `None` unless traces are exported.
    pub(super) decided_at: Option<SystemTime>,
}

impl<C> PendingBatch<C> {
    /// Returns whether the batch has nothing to store and nothing to send.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.replies.is_empty() && self.effects.is_empty()
    }
}

/// The part of the engine that owns the state. It runs on a separate thread.
pub(super) struct Decider<C, N> {
    pub(super) state: State,
    pub(super) jobs: Receiver<Job<C>>,
    pub(super) pending: SyncSender<PendingBatch<C>>,
    pub(super) stats: Arc<EngineStats>,
    pub(super) now: N,
    pub(super) max_payload: Box<dyn Fn() -> usize + Send>,
}

impl<C, N: Fn() -> Timestamp> Decider<C, N> {
    /// Decides the inputs that arrive, until every sender of jobs is dropped or the committing
    /// thread has ended.
    pub(super) fn run(mut self) {
        let mut jobs = vec![Job {
            input: Input::Start,
            context: None,
        }];
        let mut max_payload = 0;
        loop {
            let limit = (self.max_payload)();
            self.state.set_message_limits(MessageLimits::new(limit));
            if limit != max_payload
                && let Err(error) = check_max_payload(limit)
            {
                error!("{error}");
            }
            max_payload = limit;
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

/// Returns the maximum time to wait for an input. If none arrives in this time, [`decide`] is
/// called without inputs, to run the timers that are due.
pub fn next_timeout(state: &State, now: Timestamp) -> Duration {
    let wait = u64::try_from(state.next_deadline().millis_since(now)).unwrap_or(0);
    Duration::from_millis(wait).min(MAX_WAIT)
}

/// Decides one batch of inputs, and runs the timers that are due at `now`.
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
