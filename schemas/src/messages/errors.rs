//! Error replies: the error codes, their ADR-32 statuses, and the body of the reply to a rejected
//! request.

use serde::{Deserialize, Serialize};

/// The reason why a request or report was rejected, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The request is not valid: for example, the payload is not JSON, a field is missing or out of
    /// range, or a name breaks its rule.
    BadRequest,
    /// The host does not exist.
    HostNotFound,
    /// The host has no such decky.
    ShardNotFound,
    /// The operation does not exist.
    OperationNotFound,
    /// The host was decommissioned.
    HostDecommissioned,
    /// The targets of the teardown are no longer those of the expected plan.
    PlanChanged,
    /// The idempotency key was used for a different request.
    IdempotencyConflict,
    /// The operation cannot be cancelled, because it is not `queued`.
    NotCancellable,
    /// A target of the teardown is protected, and the request does not override the protection.
    Protected,
    /// A bounded queue or a quota is full. Nothing was stored.
    Overloaded,
    /// The change could not be made durable. Nothing was accepted.
    StorageFailed,
    /// The controller is shutting down. Retry the request: another controller will reply, or the
    /// same controller after its next start.
    ShuttingDown,
    /// The controller that replied is not the leader. Retry the request.
    NotLeader,
}

impl ErrorCode {
    /// All error codes, sorted by discriminant.
    pub const ALL: [Self; 13] = [
        Self::BadRequest,
        Self::HostNotFound,
        Self::ShardNotFound,
        Self::OperationNotFound,
        Self::HostDecommissioned,
        Self::PlanChanged,
        Self::IdempotencyConflict,
        Self::NotCancellable,
        Self::Protected,
        Self::Overloaded,
        Self::StorageFailed,
        Self::ShuttingDown,
        Self::NotLeader,
    ];

    /// Returns the HTTP-like status for the `Nats-Service-Error-Code` header.
    pub fn status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::HostNotFound | Self::ShardNotFound | Self::OperationNotFound => 404,
            Self::HostDecommissioned
            | Self::PlanChanged
            | Self::IdempotencyConflict
            | Self::NotCancellable
            | Self::Protected => 409,
            Self::Overloaded => 429,
            Self::StorageFailed => 500,
            Self::ShuttingDown | Self::NotLeader => 503,
        }
    }
}

/// The reason why a request or report was rejected, with an explanation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct ErrorReply {
    /// The reason for the rejection, for programs.
    pub code: ErrorCode,
    /// An explanation of the error, for people.
    pub message: String,
    /// The delay in milliseconds after which to retry. Only sent with the code `overloaded`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl ErrorReply {
    /// Returns an error without `retry_after_ms`.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            retry_after_ms: None,
        }
    }
}

/// The reply to a request or report that was rejected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct ErrorReplyBody {
    /// Always false. Replies that accept a request have `true`.
    #[cfg_attr(feature = "generate", schemars(extend("const" = false)))]
    pub accepted: bool,
    /// What is wrong, and what to do about it.
    pub error: ErrorReply,
}

impl From<ErrorReply> for ErrorReplyBody {
    fn from(error: ErrorReply) -> Self {
        Self {
            accepted: false,
            error,
        }
    }
}
