//! `agent.<host_uuid>.progress`: the agent acknowledges a command, or has reached a step of an
//! operation. Any step after `received` shows that the agent has started the operation.

use std::sync::Arc;

use scuttle_schemas::agents::{ProgressStep, TeardownProgress};
use scuttle_schemas::operations::OperationState;
use scuttle_schemas::{HostId, Timestamp};

use crate::record::operation_state::OperationEvent;
use crate::record::rows::OperationRow;
use crate::reports::boot_id::check_boot_id;
use crate::state::State;
use crate::state::host::Progress;

impl State {
    /// Records that the agent has the command. After a step that shows that the agent has started
    /// the operation, sets a queued operation to `running`, and keeps the progress for operators.
    ///
    /// An acknowledgement is kept in memory only, and is not announced.
    ///
    /// Ignores progress of an operation that is unknown or belongs to another host, and progress
    /// from an older boot of the agent or from one far ahead of the controller's clock.
    pub(crate) fn apply_progress(
        &mut self,
        now: Timestamp,
        from: &HostId,
        progress: &TeardownProgress,
    ) {
        let Some(host) = self.hosts.get(from) else {
            return;
        };
        if check_boot_id(now, progress.boot_id).is_err() {
            return;
        }
        let applied = host.row.applied;
        if applied.is_some_and(|applied| progress.boot_id < applied.boot) {
            self.stats.events.stale_reports += 1;
            return;
        }
        let Some(row) = self.operations.get(&progress.operation_id) else {
            return;
        };
        if row.host != *from {
            return;
        }
        let row = Arc::clone(row);
        if acknowledges_command(&row, progress) {
            self.acknowledge_command(from, row.id);
        }
        let Some(host) = self.hosts.get_mut(from) else {
            return;
        };
        if progress.step == ProgressStep::Received {
            return;
        }
        host.progress = Some(Progress {
            operation: row.id,
            step: describe_step(progress),
            reported_at: now,
        });
        if row.state == OperationState::Queued {
            let mut row = OperationRow::clone(&row);
            if row.transition(OperationEvent::Started, now).is_ok() {
                self.put_operation(row);
            }
        }
    }
}

/// Returns whether progress shows that the agent has the last command of the operation. An agent
/// that received the teardown command may still need the cancel command that followed it.
fn acknowledges_command(row: &OperationRow, progress: &TeardownProgress) -> bool {
    let is_started = progress.step != ProgressStep::Received;
    let is_cancelled = row.state == OperationState::Cancelled;
    is_started || progress.cancelled == is_cancelled
}

fn describe_step(progress: &TeardownProgress) -> String {
    let step = progress.step.as_str();
    match (progress.done, progress.total) {
        (Some(done), Some(1)) => format!("{step}, {done} of 1 decky done"),
        (Some(done), Some(total)) => format!("{step}, {done} of {total} deckies done"),
        _ => step.to_owned(),
    }
}
