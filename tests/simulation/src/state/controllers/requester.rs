//! Who sent a request to a controller, and for what.

use async_nats::Subject;
use scuttle_schemas::OperationId;

/// Who asked, and for what.
#[derive(Debug, Clone)]
pub(crate) struct Requester {
    pub(crate) reply: Option<Subject>,
    pub(crate) subject: String,
    /// The operation of a result.
    pub(crate) operation: Option<OperationId>,
    /// Who asked with which idempotency key.
    pub(crate) key: Option<(String, String)>,
}
