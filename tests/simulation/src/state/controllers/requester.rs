//! Who sent a request to a controller, and for what.

use async_nats::Subject;
use scuttle_schemas::OperationId;

/// Where to send the reply to a request, and what the oracle must know to judge it.
#[derive(Debug, Clone)]
pub(crate) struct Requester {
    pub(crate) reply: Option<Subject>,
    pub(crate) subject: String,
    /// The operation that a result is about.
    pub(crate) operation: Option<OperationId>,
    /// The requesting user and the idempotency key.
    pub(crate) key: Option<(String, String)>,
}
