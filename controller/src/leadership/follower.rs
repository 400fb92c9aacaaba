//! Following: the state of a controller that does not lead, kept as new as the journal that all share, so that a take-over
//! loads nothing. Blocks, so it is for a thread of its own. Who leads is known in `lease`, what a take-over is in `replica`.

use std::convert::Infallible;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use scuttle_core::State;
use tracing::{info, warn};

use crate::engine::stats::EngineStats;
use crate::engine::{self, CHECKPOINT, LONG_JOURNAL};
use crate::store::{JournalError, ReplicatedStore, Store, StoreError};

/// How long the next message is waited for, until somebody may want this to end.
const LOOK: Duration = Duration::from_millis(50);

/// How long to wait when the servers do not answer.
const PAUSE: Duration = Duration::from_millis(250);

/// A journal longer than this, in changes, is moved to the rows though more comes: a follower has nothing else to do.
const TOO_LONG: usize = 16 * LONG_JOURNAL;

/// A store and its state.
pub struct Follower {
    /// The state, as far as the journal was read.
    pub state: State,
    /// Where it is read from.
    pub store: ReplicatedStore,
}

impl Follower {
    /// Reads all that there is.
    ///
    /// # Errors
    /// As `load` of the store.
    pub fn load(mut store: ReplicatedStore) -> Result<Self, StoreError> {
        let state = engine::load(&mut store)?;
        Ok(Self { state, store })
    }

    /// Follows until `stop`'s sender is gone.
    ///
    /// # Errors
    /// The rows cannot be written, or the journal cannot be followed from here: it was trimmed, or holds what it should not.
    pub fn follow(
        &mut self,
        stop: &Receiver<Infallible>,
        stats: &EngineStats,
    ) -> Result<(), StoreError> {
        let mut away = false;
        stats.follows();
        loop {
            let pause = match self.step() {
                Ok(()) => {
                    if std::mem::take(&mut away) {
                        info!("the journal can be followed again");
                    }
                    Duration::ZERO
                }
                Err(StoreError::Journal(error @ JournalError::Failed { .. })) => {
                    if !std::mem::replace(&mut away, true) {
                        warn!("{error}");
                    }
                    // Whether that helps, the next step tells.
                    let _ = self.store.resume();
                    PAUSE
                }
                Err(error) => return Err(error),
            };
            stats.journal_is(self.store.journal_len());
            if stop.recv_timeout(pause) == Err(RecvTimeoutError::Disconnected) {
                return Ok(());
            }
        }
    }

    fn step(&mut self) -> Result<(), StoreError> {
        let Self { state, store } = self;
        let came = store.apply_next(LOOK, &mut |change| state.replay(change))?;
        let long = if came { TOO_LONG } else { LONG_JOURNAL };
        if store.journal_len() > long {
            store.checkpoint(CHECKPOINT)?;
        }
        Ok(())
    }

    /// Reads all that others have written by now.
    ///
    /// # Errors
    /// As `catch_up` of the store.
    pub fn catch_up(&mut self) -> Result<(), StoreError> {
        let Self { state, store } = self;
        store.catch_up(&mut |change| state.replay(change))
    }
}
