//! What is kept about a request to a controller: where its reply goes, and what the oracle needs to
//! check the reply.

use async_nats::Subject;
use scuttle_core::Input;
use scuttle_schemas::OperationId;

/// The destination of the reply to a request, and the facts that the oracle needs to check the
/// reply.
#[derive(Debug, Clone)]
pub(crate) struct Requester {
    pub(crate) reply: Option<Subject>,
    pub(crate) subject: String,
    /// The operation whose result the agent reports. `None` for any other request.
    pub(crate) operation: Option<OperationId>,
    /// The requesting user and the idempotency key. `None` for a request without a key.
    pub(crate) key: Option<(String, String)>,
    /// The request to tear down a target or to change its protection. `None` for any other request.
    pub(crate) input: Option<Input>,
}
