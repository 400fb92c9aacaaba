//! Errors.

use scuttle_schemas::{ErrorCode, ErrorReply, HostId};

pub(crate) fn decommissioned(id: &HostId) -> ErrorReply {
    ErrorReply::new(
        ErrorCode::HostDecommissioned,
        format!("host {id} was decommissioned"),
    )
}
