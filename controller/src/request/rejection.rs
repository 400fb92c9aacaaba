//! The reasons why a request does not reach the engine, and the error replies for them.

use scuttle_schemas::{ErrorCode, ErrorReply};

use crate::leadership::term::{StopReason, Term};
use crate::observability::counters::Cause;
use crate::request::decode::DecodeError;

/// The delay, in milliseconds, after which a requester that was rejected with `overloaded` should
/// retry. The engine empties a full queue within this time.
const RETRY_AFTER_MS: u64 = 500;

/// The reason why a stage of the pipeline stopped a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejection {
    /// A request that gets no reply, because it belongs to another partition or its host is over
    /// the rate limit.
    Drop,
    /// A request that gets an error reply.
    Reply {
        /// The cause to count. `None` if the rejection is not counted as ignored.
        cause: Option<Cause>,
        error: ErrorReply,
    },
}

impl Rejection {
    pub(crate) fn overloaded() -> Self {
        Self::Reply {
            cause: Some(Cause::Overloaded),
            error: retry_later(
                "the controller is overloaded by waiting requests: nothing was stored",
            ),
        }
    }
}

/// Returns the error for a request that arrives after the term has ended. The error states why the
/// term ended.
pub(crate) fn term_ended(term: &Term) -> ErrorReply {
    let reason = term.stop_reason().unwrap_or(StopReason::Shutdown);
    reason.error_reply()
}

impl From<DecodeError> for Rejection {
    fn from(DecodeError { cause, error }: DecodeError) -> Self {
        Self::Reply {
            cause: Some(cause),
            error,
        }
    }
}

impl From<ErrorReply> for Rejection {
    fn from(error: ErrorReply) -> Self {
        Self::Reply { cause: None, error }
    }
}

/// Returns an `overloaded` error, which asks the requester to repeat the request after a delay.
pub(crate) fn retry_later(why: impl Into<String>) -> ErrorReply {
    ErrorReply {
        retry_after_ms: Some(RETRY_AFTER_MS),
        ..ErrorReply::new(ErrorCode::Overloaded, why)
    }
}
