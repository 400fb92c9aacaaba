//! The engine: decide, make durable, then send.
//!
//! Work flows in one direction through two threads:
//!
//! - The first thread owns the state. It takes the inputs that have arrived, at most 1,024 at a
//!   time, and steps the core once for each input.
//! - The second thread owns the store. It takes all batches that have been decided, appends them as
//!   one journal record, and waits until the record is on disk. Only then does it pass the replies
//!   and effects to the publisher.
//!
//! One fsync therefore serves every waiting requester, deciding continues during the fsync, and no
//! message is sent that a crash could invalidate. NATS, JSON and async code do not belong here.

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
use crate::leadership::term::{StepDown, StopReason};
use crate::store::{Store, StoreError};

/// The maximum number of decided batches that wait to be committed. When the queue is full,
/// deciding pauses and the queue of jobs fills.
pub(crate) const MAX_PENDING_BATCHES: usize = 4;

/// The maximum number of commits that wait to be sent. When the queue is full, committing pauses.
pub const MAX_OUTBOX_COMMITS: usize = 64;

/// Loads the state from the store.
///
/// # Errors
/// If the store cannot be read or its changes contradict each other.
pub fn load(store: &mut dyn Store) -> Result<State, StoreError> {
    let mut state = State::default();
    store.load(&mut |change| state.replay(change))?;
    Ok(state)
}

/// The parts of an engine. [`Engine::run`] starts it.
pub struct Engine<C, S, N> {
    pub state: State,
    pub store: S,
    /// The queue of inputs. The engine ends when every sender is dropped.
    pub jobs: Receiver<Job<C>>,
    /// The channel that passes committed batches to the publisher.
    pub outbox: Sender<Vec<CommittedBatch<C>>>,
    pub stats: Arc<EngineStats>,
    /// The handle that ends the leader's term when the store fails.
    pub step_down: StepDown,
    /// A function that returns the current time.
    pub now: N,
    /// A function that returns the `max_payload` of the connected NATS server, in bytes.
    pub max_payload: Box<dyn Fn() -> usize + Send>,
}

impl<C, S, N> Engine<C, S, N>
where
    C: Send + 'static,
    S: Store,
    N: Fn() -> Timestamp + Send + 'static,
{
    /// Runs until every sender of jobs is dropped, then moves the whole journal to the rows. Blocks
    /// the calling thread, which commits the batches.
    ///
    /// # Errors
    /// If a commit or a checkpoint failed. After a failed commit, none of its replies were sent,
    /// and it is unknown until the next load which of its changes are durable. The term is ended,
    /// and the waiting requesters are rejected: with `not_leader` if a shared journal failed, else
    /// with `storage_failed`.
    pub fn run(mut self) -> Result<(), StoreError> {
        let (pending_sender, pending) = sync_channel(MAX_PENDING_BATCHES);
        let decider = Decider {
            state: self.state,
            jobs: self.jobs,
            pending: pending_sender,
            stats: self.stats.clone(),
            now: self.now,
            max_payload: self.max_payload,
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
            let is_shared = matches!(*error, StoreError::Journal(_));
            let reason = if is_shared {
                StopReason::SteppedDown
            } else {
                StopReason::StorageFailed
            };
            self.step_down.request(reason);
            let reject = |batch: PendingBatch<C>| batch.into_rejected(reason);
            let rejected = batches.into_iter().map(reject).collect();
            let _ = self.outbox.blocking_send(rejected);
            // The iteration ends when no task sends jobs any longer.
            let rejected = pending.iter().map(reject).collect();
            let _ = self.outbox.blocking_send(rejected);
            if is_shared {
                // The changes that the journal has accepted are durable in the rows from here on,
                // even if the servers lose the journal.
                let _ = committer.checkpoint_all();
            }
            return Err(*error);
        }
        deciding
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        committer.checkpoint_all()
    }
}
