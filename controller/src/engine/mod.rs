//! The engine: decide, make durable, then tell.
//!
//! Two threads, one way. The first owns the state: it takes what waits in its inbox, one input or a
//! thousand, and steps the core for each. The second owns the store: it takes the batches that were
//! decided meanwhile, appends one journal record for all of them, waits until that is on disk, and only
//! then hands their effects on. So one fsync serves everybody who waits, deciding goes on during the
//! fsync, and nothing is told that a crash could take back. What is absent: NATS, JSON, async.

pub mod stats;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant, SystemTime};

use scuttle_core::{Change, Commit, Effect, Input, Reply, State};
use scuttle_schemas::Timestamp;
use tokio::sync::mpsc::Sender;

use crate::engine::stats::EngineStats;
use crate::leadership::term::{StepDown, StopReason};
use crate::store::{Store, StoreError};

/// How many inputs are decided in one batch at the most: enough that what is told once a batch costs
/// each of them little, few enough that the first of them does not wait long for the last.
const BATCH: usize = 1024;

/// How many decided batches wait for the disk. When they are this many, deciding waits, and the inbox
/// fills.
pub(crate) const UNDURABLE: usize = 4;

/// How many batches of effects wait to be sent. When they are this many, committing waits.
pub const OUTBOX: usize = 64;

/// How long the engine waits for an input at the most: then it looks at the clock, which may have been set
/// back meanwhile.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// A journal longer than this, in changes, is moved to the rows when there is nothing else to do.
pub(crate) const LONG_JOURNAL: usize = 4_096;

/// How long nothing must have been decided before there is nothing else to do.
const QUIET: Duration = Duration::from_millis(50);

/// How many changes are moved then before anything else is looked at: 10 to 20 ms of work.
pub(crate) const CHECKPOINT: usize = 1_000;

/// A journal longer than this, in changes, is moved though there is more to do: a start reads it in a
/// second or two.
pub const TOO_LONG_JOURNAL: usize = 1_000_000;

/// One input, and who waits for its reply.
#[derive(Debug)]
pub struct Job<R> {
    /// What happened.
    pub input: Input,
    /// Where the reply goes; none for what is not a request.
    pub requester: Option<R>,
}

/// What may be told of a batch once it is durable.
#[derive(Debug)]
pub struct CommittedBatch<R> {
    /// Each reply, and who waits for it.
    pub replies: Vec<(R, Reply)>,
    /// Commands and broadcasts, in their order.
    pub effects: Vec<Effect>,
    /// When it was decided, where somebody traces that.
    pub decided: Option<SystemTime>,
    /// When it was on disk.
    pub durable: Option<SystemTime>,
}

/// What was decided on a batch: it may be told once its changes are on disk.
#[derive(Debug)]
pub struct PendingBatch<R> {
    changes: Vec<Change>,
    told: CommittedBatch<R>,
}

/// Batches that could not be made durable: nothing of them may be told, but that.
#[derive(Debug)]
pub struct CommitFailed<R> {
    /// Why not.
    pub error: Box<StoreError>,
    /// They.
    pub batches: Vec<CommittedBatch<R>>,
}

impl<R> CommittedBatch<R> {
    /// What whoever leads no more tells of it: that, to each who waits.
    #[must_use]
    pub fn into_rejected(mut self) -> Self {
        for (_, reply) in &mut self.replies {
            *reply = Reply::Rejected(StopReason::SteppedDown.refusal());
        }
        self.effects.clear();
        self
    }
}

/// Reads the stored state.
///
/// # Errors
/// The store cannot be read, or holds what cannot be.
pub fn load(store: &mut dyn Store) -> Result<State, StoreError> {
    let mut state = State::default();
    store.load(&mut |change| state.replay(change))?;
    Ok(state)
}

/// Runs until every sender of the inbox is gone, then checkpoints. Blocks: the caller's thread commits. How it goes is
/// shown in `stats`.
///
/// # Errors
/// A commit failed. It is not known what of it is durable (the next load finds out), and nothing of it
/// was told to anybody. Where the journal is shared, `depose` has ended the term, and whoever waited hears so.
pub fn run<R: Send + 'static>(
    state: State,
    store: &mut dyn Store,
    inbox: Receiver<Job<R>>,
    outbox: &Sender<Vec<CommittedBatch<R>>>,
    now: impl Fn() -> Timestamp + Send + 'static,
    (stats, depose): (&Arc<EngineStats>, &StepDown),
) -> Result<(), StoreError> {
    let (decided, undurable) = sync_channel(UNDURABLE);
    let shown = stats.clone();
    let deciding = std::thread::Builder::new()
        .name("decide".to_owned())
        .spawn(move || decide_all(state, &inbox, &decided, now, &shown))
        .expect("the system starts a thread");
    let committed = commit_all(store, &undurable, outbox, stats);
    if let Err(CommitFailed { error, batches }) = committed {
        if matches!(*error, StoreError::Journal(_)) {
            depose.now();
            // No more comes once nobody asks any more.
            let rest = undurable.iter().map(PendingBatch::into_rejected);
            let told = batches
                .into_iter()
                .map(CommittedBatch::into_rejected)
                .chain(rest);
            let _ = outbox.blocking_send(told.collect());
        }
        return Err(*error);
    }
    deciding
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    while store.journal_len() > 0 {
        checkpoint(store, CHECKPOINT, stats)?;
    }
    Ok(())
}

/// Decides on what comes in, until nothing more can come or the other thread has ended.
fn decide_all<R>(
    mut state: State,
    inbox: &Receiver<Job<R>>,
    decided: &SyncSender<PendingBatch<R>>,
    now: impl Fn() -> Timestamp,
    stats: &EngineStats,
) {
    let mut jobs = vec![Job {
        input: Input::Start,
        requester: None,
    }];
    loop {
        let batch = decide(&mut state, jobs.drain(..), now());
        stats.decided(state.stats());
        if !batch.is_empty() {
            stats.handed_on();
            if decided.send(batch).is_err() {
                return;
            }
        }
        match inbox.recv_timeout(next_timeout(&state, now())) {
            Ok(job) => jobs.push(job),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        jobs.extend(inbox.try_iter().take(BATCH - jobs.len()));
    }
}

/// How long to wait for an input until `decide` is called without one.
pub fn next_timeout(state: &State, now: Timestamp) -> Duration {
    let wait = u64::try_from(state.next_deadline().millis_since(now)).unwrap_or(0);
    Duration::from_millis(wait).min(LONGEST_WAIT)
}

/// Decides on one batch, and on what is due by now.
pub fn decide<R>(
    state: &mut State,
    jobs: impl ExactSizeIterator<Item = Job<R>>,
    now: Timestamp,
) -> PendingBatch<R> {
    let idle = jobs.len() == 0;
    let mut replies = Vec::with_capacity(jobs.len());
    for Job { input, requester } in jobs {
        let reply = state.step(now, input);
        replies.extend(requester.zip(reply));
    }
    if idle || state.next_deadline() <= now {
        state.step(now, Input::Tick);
    }
    let Commit { changes, effects } = state.close(now);
    let told = CommittedBatch {
        replies,
        effects,
        decided: scuttle_telemetry::now(),
        durable: None,
    };
    PendingBatch { changes, told }
}

impl<R> From<StoreError> for CommitFailed<R> {
    fn from(error: StoreError) -> Self {
        Self {
            error: Box::new(error),
            batches: Vec::new(),
        }
    }
}

impl<R> PendingBatch<R> {
    /// What is told of it by whoever does not lead when it comes to be told.
    #[must_use]
    pub fn into_rejected(self) -> CommittedBatch<R> {
        self.told.into_rejected()
    }

    /// Nothing to write and nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.told.replies.is_empty() && self.told.effects.is_empty()
    }
}

/// Makes batches durable, all in one append; gives back what may now be told, and nowhere before.
///
/// # Errors
/// The append failed.
pub fn commit<R>(
    store: &mut dyn Store,
    batches: impl Iterator<Item = PendingBatch<R>>,
) -> Result<Vec<CommittedBatch<R>>, CommitFailed<R>> {
    let (mut changes, mut told) = (Vec::new(), Vec::new());
    for batch in batches {
        changes.extend(batch.changes);
        told.push(batch.told);
    }
    if !changes.is_empty()
        && let Err(error) = store.append(&changes)
    {
        return Err(CommitFailed {
            error: Box::new(error),
            batches: told,
        });
    }
    Ok(told)
}

/// Makes durable what was decided, then hands it on to be told: the one way out.
fn commit_all<R>(
    store: &mut dyn Store,
    undurable: &Receiver<PendingBatch<R>>,
    outbox: &Sender<Vec<CommittedBatch<R>>>,
    stats: &EngineStats,
) -> Result<(), CommitFailed<R>> {
    loop {
        stats.journal_is(store.journal_len());
        let long = store.journal_len() > LONG_JOURNAL;
        let first = match undurable.recv_timeout(if long { QUIET } else { Duration::MAX }) {
            Ok(first) => first,
            Err(RecvTimeoutError::Timeout) => {
                checkpoint(store, CHECKPOINT, stats)?;
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        };
        let (before, begun) = (store.journal_len(), Instant::now());
        let batches = std::iter::once(first).chain(undurable.try_iter());
        let mut told = commit(store, batches.inspect(|_| stats.taken()))?;
        let changes = store.journal_len() - before;
        stats.committed(changes, begun.elapsed());
        let durable = scuttle_telemetry::now();
        for batch in &mut told {
            batch.durable = durable;
        }
        // Nobody to send it: the state is durable, and that is what counts.
        let _ = outbox.blocking_send(told);
        if store.journal_len() > TOO_LONG_JOURNAL {
            checkpoint(store, 2 * changes, stats)?;
        }
    }
}

fn checkpoint(
    store: &mut dyn Store,
    changes: usize,
    stats: &EngineStats,
) -> Result<(), StoreError> {
    let begun = Instant::now();
    store.checkpoint(changes)?;
    stats.checkpointed(begun.elapsed());
    Ok(())
}
