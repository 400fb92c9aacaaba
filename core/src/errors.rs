//! Errors.

use scuttle_schemas::{ErrorCode, HostId, Refusal};

pub(crate) fn decommissioned(id: &HostId) -> Refusal {
    Refusal::new(
        ErrorCode::HostDecommissioned,
        format!("host {id} was decommissioned"),
    )
}
