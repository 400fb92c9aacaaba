//! Error replies: the error codes, their ADR-32 status, and the body of a rejected request's reply.

use serde::{Deserialize, Serialize};

/// Why a request was rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The payload is not JSON, a field is missing, of the wrong type or out of range, or a name
    /// breaks its rule.
    BadRequest,
    /// The host does not exist.
    HostNotFound,
    /// The host has no such decky.
    ShardNotFound,
    /// The operation does not exist.
    OperationNotFound,
    /// The host was decommissioned.
    HostDecommissioned,
    /// The targets are no longer those of the expected plan.
    PlanChanged,
    /// The idempotency key was used for a different request.
    IdempotencyConflict,
    /// The operation is not `queued`.
    NotCancellable,
    /// A bounded queue or a quota is full. Nothing was stored.
    Overloaded,
    /// The change could not be made durable. Nothing was accepted.
    StorageFailed,
    /// The controller is shutting down. Retry: another controller, or this one after its next
    /// start, will reply.
    ShuttingDown,
    /// This controller is not the leader. Retry.
    NotLeader,
}

impl ErrorCode {
    /// All codes, in the order of their discriminants.
    pub const ALL: [Self; 12] = [
        Self::BadRequest,
        Self::HostNotFound,
        Self::ShardNotFound,
        Self::OperationNotFound,
        Self::HostDecommissioned,
        Self::PlanChanged,
        Self::IdempotencyConflict,
        Self::NotCancellable,
        Self::Overloaded,
        Self::StorageFailed,
        Self::ShuttingDown,
        Self::NotLeader,
    ];

    /// Returns the value of the `Nats-Service-Error-Code` header.
    pub fn status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::HostNotFound | Self::ShardNotFound | Self::OperationNotFound => 404,
            Self::HostDecommissioned
            | Self::PlanChanged
            | Self::IdempotencyConflict
            | Self::NotCancellable => 409,
            Self::Overloaded => 429,
            Self::StorageFailed => 500,
            Self::ShuttingDown | Self::NotLeader => 503,
        }
    }
}

/// The error of a rejected request: what is wrong, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct ErrorReply {
    /// The error code, for programs.
    pub code: ErrorCode,
    /// The message, for people.
    pub message: String,
    /// With `overloaded`: after how many milliseconds to retry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl ErrorReply {
    /// Returns an error without a time to retry.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            retry_after_ms: None,
        }
    }
}

/// The reply to a request that was rejected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct ErrorReplyBody {
    /// Always false.
    #[cfg_attr(feature = "generate", schemars(extend("const" = false)))]
    pub accepted: bool,
    /// The error.
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
