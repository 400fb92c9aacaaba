//! The engine: decide, make durable, then tell.
//!
//! One thread owns the state. It takes what waits in its inbox, one input or a thousand, steps the core
//! for each, appends one journal record for all of them, waits until that is on disk, and only then
//! hands the effects on. So one fsync serves everybody who waits, and nothing is told that a crash
//! could take back. What is absent: NATS, JSON, async.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use scuttle_core::{Effect, Input, State};
use scuttle_schemas::Timestamp;
use tokio::sync::mpsc::Sender;

use crate::store::{Store, StoreError};

/// How many inputs wait for the engine at the most: about a fifth of a second of its work, so that a
/// requester is told `overloaded` before it loses patience.
pub const INBOX: usize = 8192;

/// How many inputs share a commit at the most: enough that the fsync costs each of them little, few
/// enough that the first of them does not wait long for the last.
const BATCH: usize = 1024;

/// How many batches of effects wait to be sent. When it is full the engine waits, and its inbox fills.
pub const OUTBOX: usize = 64;

/// A journal longer than this, in changes, is moved to the rows when there is nothing else to do.
const LONG_JOURNAL: usize = 4_096;

/// How long nothing must have come in before there is nothing else to do.
const QUIET: Duration = Duration::from_millis(50);

/// How many changes are moved then before the inbox is looked at again: 10 to 20 ms of work.
const CHECKPOINT: usize = 1_000;

/// A journal longer than this, in changes, is moved though there is more to do: a start reads it in a
/// second or two.
const TOO_LONG_JOURNAL: usize = 1_000_000;

/// One input, and who waits for its reply.
#[derive(Debug)]
pub struct Job<R> {
    /// What happened.
    pub input: Input,
    /// Where the reply goes; none for what is not a request.
    pub requester: Option<R>,
}

/// One effect to carry out, and to whom a reply goes.
pub type Outgoing<R> = (Option<R>, Effect);

/// Why the engine could not go on.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The store failed. It is not known what is on disk: the next start finds out.
    #[error(transparent)]
    Store(#[from] StoreError),
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

/// Runs until every sender of the inbox is gone, then checkpoints. Blocks: it has a thread of its own.
///
/// # Errors
/// A commit failed. Nothing of that batch was told to anybody.
pub fn run<R>(
    mut state: State,
    store: &mut dyn Store,
    inbox: &Receiver<Job<R>>,
    outbox: &Sender<Vec<Outgoing<R>>>,
    now: impl Fn() -> Timestamp,
) -> Result<(), EngineError> {
    let mut jobs = vec![Job {
        input: Input::Start,
        requester: None,
    }];
    loop {
        let appended = commit(&mut state, store, &mut jobs, outbox, now())?;
        if store.journal_len() > TOO_LONG_JOURNAL {
            store.checkpoint(2 * appended)?;
        }
        let until_due = state.next_deadline().since(now());
        let until_due = Duration::from_millis(u64::try_from(until_due).unwrap_or(0));
        let long = store.journal_len() > LONG_JOURNAL;
        let patience = if long {
            QUIET.min(until_due)
        } else {
            until_due
        };
        match inbox.recv_timeout(patience) {
            Ok(job) => jobs.push(job),
            Err(RecvTimeoutError::Timeout) if long && patience == QUIET => {
                store.checkpoint(CHECKPOINT)?;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        jobs.extend(inbox.try_iter().take(BATCH - jobs.len()));
    }
    while store.journal_len() > 0 {
        store.checkpoint(CHECKPOINT)?;
    }
    Ok(())
}

/// Decides on a batch of jobs, makes it durable, then hands on its effects. Says how many changes that
/// were.
fn commit<R>(
    state: &mut State,
    store: &mut dyn Store,
    jobs: &mut Vec<Job<R>>,
    outbox: &Sender<Vec<Outgoing<R>>>,
    now: Timestamp,
) -> Result<usize, EngineError> {
    let mut outgoing = Vec::with_capacity(jobs.len() * 3);
    for mut job in jobs.drain(..) {
        for effect in state.step(now, job.input) {
            // The first effect of a request is its reply.
            outgoing.push((job.requester.take(), effect));
        }
    }
    if state.next_deadline() <= now {
        outgoing.extend(
            state
                .step(now, Input::Tick)
                .into_iter()
                .map(|effect| (None, effect)),
        );
    }
    let commit = state.close(now);
    if !commit.changes.is_empty() {
        store.append(&commit.changes)?;
    }
    // From here on, and nowhere before, the batch may be told.
    outgoing.extend(commit.effects.into_iter().map(|effect| (None, effect)));
    if !outgoing.is_empty() {
        // Nobody to send for any more: the state is durable, and that is what counts.
        let _ = outbox.blocking_send(outgoing);
    }
    Ok(commit.changes.len())
}
