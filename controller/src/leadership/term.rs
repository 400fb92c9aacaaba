//! The term of a leader. A term ends when the process shuts down, or earlier if the leader steps
//! down.

use std::sync::{Arc, OnceLock};

use scuttle_schemas::{ErrorCode, ErrorReply};
use tokio_util::sync::CancellationToken;

/// The reason why a leader stops serving requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// The process shuts down.
    Shutdown,
    /// The leader has stepped down, so another controller leads or may lead.
    SteppedDown,
    /// The store of this controller has failed, so the process ends.
    StorageFailed,
}

impl StopReason {
    /// Returns the error reply for requests that arrive after the term has ended.
    pub fn error_reply(self) -> ErrorReply {
        match self {
            Self::SteppedDown => ErrorReply::new(
                ErrorCode::NotLeader,
                "this controller is no longer the leader: repeat the request, and the leader replies",
            ),
            Self::Shutdown => ErrorReply::new(
                ErrorCode::ShuttingDown,
                "the controller is stopping: repeat the request after its next start",
            ),
            Self::StorageFailed => ErrorReply::new(
                ErrorCode::StorageFailed,
                "the controller cannot write to its disk and stops (see its log): repeat the request with the same key after its next start",
            ),
        }
    }
}

/// One term of a leader. When the term ends, all of the leader's tasks are notified. Clones refer
/// to the same term.
#[derive(Debug, Clone)]
pub struct Term {
    shutdown: CancellationToken,
    ended_early: EndedEarly,
}

/// Signals that the term ended before the process shut down, and stores the reason.
#[derive(Debug, Clone, Default)]
struct EndedEarly {
    token: CancellationToken,
    reason: Arc<OnceLock<StopReason>>,
}

/// A handle that ends a leader's term before the process shuts down.
#[derive(Debug, Clone, Default)]
pub struct StepDown(EndedEarly);

impl StepDown {
    /// Ends the term for this reason, unless it has ended before.
    pub fn request(&self, reason: StopReason) {
        let _ = self.0.reason.set(reason);
        self.0.token.cancel();
    }
}

impl Term {
    /// Starts a term that lasts until `shutdown` is cancelled, or until the leader steps down
    /// through the returned handle.
    pub fn start(shutdown: CancellationToken) -> (Self, StepDown) {
        let ended_early = EndedEarly::default();
        let step_down = StepDown(ended_early.clone());
        let term = Self {
            shutdown,
            ended_early,
        };
        (term, step_down)
    }

    /// Waits until the term has ended.
    pub async fn ended(&self) {
        tokio::select! {
            () = self.shutdown.cancelled() => {}
            () = self.ended_early.token.cancelled() => {}
        }
    }

    /// Returns the reason why the term has ended, or `None` if it has not ended.
    pub fn stop_reason(&self) -> Option<StopReason> {
        let early = self.ended_early.reason.get().copied();
        early.or_else(|| (self.shutdown.is_cancelled()).then_some(StopReason::Shutdown))
    }
}
