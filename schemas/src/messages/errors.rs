//! Refusals: the codes, their ADR-32 status, and the body they travel in.

use serde::{Deserialize, Serialize};

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// Not JSON, a field missing, of the wrong type or out of its range, a name that breaks its rule.
    BadRequest,
    /// No such host.
    HostNotFound,
    /// No such decky on that host.
    ShardNotFound,
    /// No such operation.
    OperationNotFound,
    /// The host was taken out of the swarm.
    HostDecommissioned,
    /// The targets are no longer those of the plan.
    PlanChanged,
    /// The idempotency key was used with another body.
    IdempotencyConflict,
    /// The operation is no longer `queued`.
    NotCancellable,
    /// A bounded queue is full; nothing was stored.
    Overloaded,
    /// The change could not be made durable; nothing was accepted.
    StorageFailed,
    /// The controller is stopping; another, or the next start, will answer.
    ShuttingDown,
    /// Another controller leads.
    NotLeader,
}

impl ErrorCode {
    /// All of them, in their order.
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

    /// The value of the `Nats-Service-Error-Code` header.
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

/// A refusal: what went wrong, and in words what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct ErrorReply {
    /// For programs.
    pub code: ErrorCode,
    /// For people.
    pub message: String,
    /// With `overloaded`: when to ask again, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl ErrorReply {
    /// A refusal without a time to ask again.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            retry_after_ms: None,
        }
    }
}

/// The body of a refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
pub struct ErrorReplyBody {
    /// Always false.
    #[cfg_attr(feature = "generate", schemars(extend("const" = false)))]
    pub accepted: bool,
    /// What went wrong.
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
