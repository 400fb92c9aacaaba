//! Error replies that several requests and reports share.

use std::fmt::Display;

use scuttle_schemas::{DeckyId, ErrorCode, ErrorReply, HostId, OperationId};

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

/// Returns the error reply for a decky that is not on a host. `host` is the `HostIdentity`.
pub(crate) fn shard_not_found(host: impl Display, decky: &DeckyId) -> ErrorReply {
    ErrorReply::new(
        ErrorCode::ShardNotFound,
        format!("{host} has no decky {decky}"),
    )
}

/// Returns the error reply for an operation that does not exist, or that retention has removed.
pub(crate) fn operation_not_found(id: OperationId) -> ErrorReply {
    ErrorReply::new(
        ErrorCode::OperationNotFound,
        format!("operation {id} does not exist"),
    )
}
