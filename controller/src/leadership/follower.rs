//! Keeps a follower's state up to date with the shared journal, so that a takeover does not have to
//! load the record. The functions block, so they must run on a separate thread. Leases are in
//! `lease`, and takeovers are in `candidate`.

use std::convert::Infallible;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use scuttle_core::State;
use tracing::{info, warn};

use crate::engine::commit::CHECKPOINT_CHANGES;
use crate::engine::stats::EngineStats;
use crate::engine::{self, IDLE_CHECKPOINT_THRESHOLD};
use crate::store::{JournalError, ReplicatedStore, Store, StoreError};

/// The maximum wait for the next message of the journal. After each wait, the follower checks
/// whether it should stop.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The delay before the follower repeats a failed read.
const RETRY_DELAY: Duration = Duration::from_millis(250);

/// The journal length, in changes, above which a follower checkpoints the journal even while
/// changes arrive.
const BUSY_CHECKPOINT_THRESHOLD: usize = 16 * IDLE_CHECKPOINT_THRESHOLD;

/// A copy of the leader's state, with the store that it is read from.
pub struct Follower {
    /// The state after the last change that was read from the journal.
    pub state: State,
    pub store: ReplicatedStore,
}

impl Follower {
    /// Reads the whole record from the rows and the journal.
    ///
    /// # Errors
    /// If the record cannot be read.
    pub fn load(mut store: ReplicatedStore) -> Result<Self, StoreError> {
        let state = engine::load(&mut store)?;
        Ok(Self { state, store })
    }

    /// Follows the journal until the sender of `stop` is dropped. Repeats reads that the NATS
    /// servers reject or do not reply to.
    ///
    /// # Errors
    /// If the rows cannot be written, or the journal was trimmed, has invalid content or lacks
    /// accepted changes.
    pub fn follow(
        &mut self,
        stop: &Receiver<Infallible>,
        stats: &EngineStats,
    ) -> Result<(), StoreError> {
        let mut is_away = false;
        stats.clear_state_stats();
        loop {
            let delay = match self.follow_once() {
                Ok(()) => {
                    if std::mem::take(&mut is_away) {
                        info!("the journal can be followed again");
                    }
                    Duration::ZERO
                }
                Err(StoreError::Journal(error @ JournalError::Failed { .. })) => {
                    if !std::mem::replace(&mut is_away, true) {
                        warn!("{error}");
                    }
                    // The consumer also ends if the stream was deleted, so the journal is checked
                    // first. If the failure has another cause that persists, the next attempt
                    // fails.
                    self.verify()?;
                    let _ = self.store.resume();
                    RETRY_DELAY
                }
                Err(error) => return Err(error),
            };
            stats.set_journal_len(self.store.journal_len());
            stats.set_foreign_messages(self.store.foreign_messages());
            if stop.recv_timeout(delay) == Err(RecvTimeoutError::Disconnected) {
                return Ok(());
            }
        }
    }

    fn follow_once(&mut self) -> Result<(), StoreError> {
        let Self { state, store } = self;
        let has_changes = store.apply_next(POLL_INTERVAL, &mut |change| state.replay(change))?;
        let threshold = if has_changes {
            BUSY_CHECKPOINT_THRESHOLD
        } else {
            IDLE_CHECKPOINT_THRESHOLD
        };
        if store.journal_len() > threshold || store.is_checkpoint_due() {
            store.checkpoint(CHECKPOINT_CHANGES)?;
        }
        self.verify()
    }

    /// Checks that the journal is complete. If not, moves everything that was read to the rows,
    /// where it is durable whatever becomes of the journal.
    fn verify(&mut self) -> Result<(), StoreError> {
        let verified = self.store.verify();
        while verified.is_err() && self.store.journal_len() > 0 {
            self.store.checkpoint(CHECKPOINT_CHANGES)?;
        }
        verified
    }

    /// Reads everything that has been written to the journal up to this call.
    ///
    /// # Errors
    /// If the journal cannot be read completely.
    pub fn catch_up(&mut self) -> Result<(), StoreError> {
        let Self { state, store } = self;
        store.catch_up(&mut |change| state.replay(change))
    }
}
