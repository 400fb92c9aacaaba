//! Cancel commands. A cancelled operation that has not started never starts, even if a late copy of
//! its command arrives or the agent restarts.

use scuttle_schemas::OperationId;

use super::effect::Step;
use super::event::{AgentEvent, IgnoreReason};
use super::input::Now;
use super::state::Machine;
use super::teardowns::Acknowledged;
use crate::ledger::Entry;

impl Machine {
    pub(super) fn handle_cancel(
        &mut self,
        now: Now,
        operation_id: OperationId,
        traceparent: Option<String>,
        step: &mut Step,
    ) {
        let too_late = AgentEvent::CommandIgnored(IgnoreReason::CancelTooLate(operation_id));
        if self.results.contains(operation_id) {
            step.emit(too_late);
            self.results.schedule_resend(operation_id, now);
        } else if self.commands.remove_unless_started(operation_id) {
            step.emit(too_late);
            self.publish_started(now, operation_id, step);
        } else {
            if self.cancelled.insert(operation_id) {
                step.writes.push(Entry::Cancelled { operation_id });
                step.emit(AgentEvent::OperationCancelled(operation_id));
                // Other commands may have waited for the cancelled command.
                self.start_commands(now, step);
            }
            self.acknowledge(now, Acknowledged::Cancel(operation_id), traceparent, step);
        }
    }
}
