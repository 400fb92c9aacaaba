//! The term of a leader. A term ends when the process shuts down, or earlier if the leader steps
//! down.

use scuttle_schemas::{ErrorCode, ErrorReply};
use tokio_util::sync::CancellationToken;

/// The reason why a leader stops serving requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// The process shuts down.
    Shutdown,
    /// The leader has stepped down, so another controller leads or may lead.
    SteppedDown,
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
        }
    }
}

/// One term of a leader. When the term ends, all of the leader's tasks are notified. Clones refer
/// to the same term.
#[derive(Debug, Clone)]
pub struct Term {
    shutdown: CancellationToken,
    stepped_down: CancellationToken,
}

/// A handle that ends a leader's term before the process shuts down.
#[derive(Debug, Clone, Default)]
pub struct StepDown(CancellationToken);

impl StepDown {
    pub fn request(&self) {
        self.0.cancel();
    }
}

impl Term {
    /// Starts a term that lasts until `shutdown` is cancelled, or until the leader steps down
    /// through the returned handle.
    pub fn start(shutdown: CancellationToken) -> (Self, StepDown) {
        let stepped_down = CancellationToken::new();
        let step_down = StepDown(stepped_down.clone());
        let term = Self {
            shutdown,
            stepped_down,
        };
        (term, step_down)
    }

    /// Waits until the term has ended.
    pub async fn ended(&self) {
        tokio::select! {
            () = self.shutdown.cancelled() => {}
            () = self.stepped_down.cancelled() => {}
        }
    }

    /// Returns the reason why the term has ended, or `None` if it has not ended.
    pub fn stop_reason(&self) -> Option<StopReason> {
        if self.stepped_down.is_cancelled() {
            Some(StopReason::SteppedDown)
        } else {
            (self.shutdown.is_cancelled()).then_some(StopReason::Shutdown)
        }
    }
}
