//! The engine: decide, make durable, then send.
//!
//! Work flows in one direction through two threads. The first thread owns the state: it takes the
//! inputs that have arrived, one or a thousand, and steps the core for each. The second thread owns
//! the store: it takes the batches that were decided in the meantime, appends one journal record
//! for all of them, waits until the record is on disk, and only then hands the effects to the
//! publisher. So one fsync serves every waiting requester, deciding continues during the fsync, and
//! no message is sent that a crash could invalidate. NATS, JSON and async code do not belong here.

pub mod commit;
pub mod decide;
pub mod stats;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use scuttle_core::State;
use scuttle_schemas::Timestamp;
use tokio::sync::mpsc::Sender;

pub(crate) use commit::IDLE_CHECKPOINT_THRESHOLD;
pub use commit::{CommitTiming, CommittedBatch, FORCED_CHECKPOINT_THRESHOLD};
pub use decide::{Job, PendingBatch, decide};

use crate::engine::commit::{CommitFailed, Committer};
use crate::engine::decide::Decider;
use crate::engine::stats::EngineStats;
use crate::leadership::term::StepDown;
use crate::store::{Store, StoreError};

/// The maximum number of decided batches that wait for the disk. When this many wait, deciding
/// pauses and the queue of jobs fills.
pub(crate) const MAX_PENDING_BATCHES: usize = 4;

/// The maximum number of commits that wait to be sent. When this many wait, committing pauses.
pub const MAX_OUTBOX_COMMITS: usize = 64;

/// Reads the stored state.
pub fn load(store: &mut dyn Store) -> Result<State, StoreError> {
    let mut state = State::default();
    store.load(&mut |change| state.replay(change))?;
    Ok(state)
}

/// An engine that is ready to run.
pub struct Engine<C, S, N> {
    pub state: State,
    pub store: S,
    /// The queue of inputs. The engine ends when every sender is dropped.
    pub jobs: Receiver<Job<C>>,
    /// The channel through which committed batches go to the publisher.
    pub outbox: Sender<Vec<CommittedBatch<C>>>,
    pub stats: Arc<EngineStats>,
    /// Ends the term when another controller has written to a shared journal.
    pub step_down: StepDown,
    /// Reads the clock.
    pub now: N,
}

impl<C, S, N> Engine<C, S, N>
where
    C: Send + 'static,
    S: Store,
    N: Fn() -> Timestamp + Send + 'static,
{
    /// Runs until every sender of jobs is dropped, then moves the journal to the rows. Blocks the
    /// calling thread, which does the commits.
    ///
    /// # Errors
    /// If a commit failed. Until the next load, it is then unknown which of the commit's changes
    /// are durable, and none of its replies were sent. If the journal is shared, the term has
    /// ended, and the waiting requesters are rejected with `not_leader`.
    pub fn run(mut self) -> Result<(), StoreError> {
        let (pending_sender, pending) = sync_channel(MAX_PENDING_BATCHES);
        let decider = Decider {
            state: self.state,
            jobs: self.jobs,
            pending: pending_sender,
            stats: self.stats.clone(),
            now: self.now,
        };
        let deciding = std::thread::Builder::new()
            .name("decide".to_owned())
            .spawn(move || decider.run())
            .expect("the system starts a thread");
        let mut committer = Committer {
            store: &mut self.store,
            pending: &pending,
            outbox: &self.outbox,
            stats: &self.stats,
        };
        if let Err(CommitFailed { error, batches }) = committer.run() {
            if matches!(*error, StoreError::Journal(_)) {
                self.step_down.request();
                // The iteration ends when no task sends jobs any longer.
                let rejected = batches.into_iter().chain(pending.iter());
                let rejected = rejected.map(PendingBatch::into_rejected).collect();
                let _ = self.outbox.blocking_send(rejected);
            }
            return Err(*error);
        }
        deciding
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        committer.checkpoint_all()
    }
}
