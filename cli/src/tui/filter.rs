//! The rules of the filters in `scuttle watch`: which rows have a problem, and which text of a row
//! is compared with the text that the operator typed.

use scuttle_schemas::hosts::{HostRecord, HostStatus};
use scuttle_schemas::operations::{OperationRecord, OperationState};
use scuttle_schemas::shards::{ShardRecord, ShardState};

use crate::output::operation::format_operation_target;
use crate::output::style;

pub(super) fn host_has_problem(host: &HostRecord) -> bool {
    host.status == HostStatus::Offline
        || host.inventory_error.is_some()
        || !host.notes.is_empty()
        || host.open_operations > 0
}

pub(super) fn shard_has_problem(shard: &ShardRecord) -> bool {
    !matches!(shard.state, ShardState::Running | ShardState::Pending)
}

pub(super) fn operation_has_problem(operation: &OperationRecord) -> bool {
    !matches!(
        operation.state,
        OperationState::Succeeded | OperationState::Cancelled
    )
}

pub(super) fn host_filter_text(host: &HostRecord) -> String {
    format!(
        "{} {} {}",
        host.name,
        host.host_uuid,
        style::host_label(host.status).word
    )
}

pub(super) fn shard_filter_text(shard: &ShardRecord) -> String {
    let error = shard.last_error.as_ref().map_or("", |error| error.as_str());
    format!(
        "{}/{} {} {} {} {error}",
        shard.host_name,
        shard.decky_id,
        shard.decky_ip.as_deref().unwrap_or(""),
        style::shard_label(shard.state).word,
        shard.services.join(" ")
    )
}

pub(super) fn operation_filter_text(operation: &OperationRecord) -> String {
    let error = operation.error.as_ref().map_or("", |error| error.as_str());
    format!(
        "{} {} {} {} {error}",
        operation.operation_id,
        format_operation_target(operation),
        style::operation_label(operation.state).word,
        operation.requested_by
    )
}
