//! The sender and the purpose of a request to a controller.

use async_nats::Subject;
use scuttle_schemas::OperationId;

/// The destination of the reply to a request, and the facts that the oracle needs to check the
/// reply.
#[derive(Debug, Clone)]
pub(crate) struct Requester {
    pub(crate) reply: Option<Subject>,
    pub(crate) subject: String,
    /// The operation whose result is reported, if the request is a result.
    pub(crate) operation: Option<OperationId>,
    /// The requesting user and the idempotency key.
    pub(crate) key: Option<(String, String)>,
}
