//! Error replies that several requests and reports share.

use std::fmt::Display;

use scuttle_schemas::{ErrorCode, ErrorReply, HostId, OperationId};

/// Returns the error reply for a host that was never enrolled.
pub(crate) fn host_not_found(id: &HostId) -> ErrorReply {
    ErrorReply::new(
        ErrorCode::HostNotFound,
        format!("host {id} is not enrolled"),
    )
}

/// Returns the error reply for a host that was decommissioned. `host` is the `HostIdentity`.
pub(crate) fn host_decommissioned(host: impl Display) -> ErrorReply {
    ErrorReply::new(
        ErrorCode::HostDecommissioned,
        format!("{host} was decommissioned"),
    )
}

/// Returns the error reply for an operation that does not exist, or that retention has removed.
pub(crate) fn operation_not_found(id: OperationId) -> ErrorReply {
    ErrorReply::new(
        ErrorCode::OperationNotFound,
        format!("operation {id} does not exist"),
    )
}
