//! Sends the commands of operations, and schedules when to resend them.

use scuttle_schemas::agents::{AgentCommand, CancelCommand, TeardownCommand};
use scuttle_schemas::{HostId, OperationId, Timestamp};

use crate::api::Effect;
use crate::record::rows::OperationRow;
use crate::state::State;
use crate::time::backoff::retry_delay_ms;

impl State {
    /// Adds the teardown command of an operation to the batch. Increases `row.attempts`, and sets
    /// the time of the next attempt. The caller must put the row.
    pub(crate) fn send_command(&mut self, now: Timestamp, row: &mut OperationRow) {
        row.attempts += 1;
        self.stats.events.retries += u64::from(row.attempts > 1);
        schedule_next_attempt(now, row);
        let command = TeardownCommand {
            operation_id: row.id,
            host_uuid: row.host.clone(),
            decky_id: row.decky.clone(),
            attempt: row.attempts,
            controller_epoch: self.meta.epoch,
            not_after: row.deadline,
            override_protection: row.override_protection,
        };
        self.batch.effects.push(Effect::Command {
            host: row.host.clone(),
            command: AgentCommand::Teardown(command),
            trace: row.trace.clone(),
        });
    }

    /// Resends the teardown command of an open operation.
    pub(crate) fn resend_command(&mut self, now: Timestamp, id: OperationId) {
        let Some(row) = self.operations.get(&id) else {
            return;
        };
        let mut row = OperationRow::clone(row);
        self.send_command(now, &mut row);
        self.put_operation(row);
    }

    /// Resends the commands of all open operations of a host, oldest first, because the host is
    /// back online, or its agent or this process has restarted.
    pub(crate) fn resend_open_commands(&mut self, now: Timestamp, host: &HostId) {
        let open: Vec<OperationId> = match self.hosts.get(host) {
            Some(host) => host.open_operations.iter().copied().collect(),
            None => return,
        };
        for id in open {
            let Some(row) = self.operations.get(&id) else {
                continue;
            };
            let mut row = OperationRow::clone(row);
            row.unanswered = 0;
            self.send_command(now, &mut row);
            self.put_operation(row);
        }
    }

    /// Sends the cancel command of an operation, so that its agent does not start the operation,
    /// and schedules the next attempt.
    pub(crate) fn send_cancel_command(&mut self, now: Timestamp, mut row: OperationRow) {
        schedule_next_attempt(now, &mut row);
        self.batch.effects.push(Effect::Command {
            host: row.host.clone(),
            command: AgentCommand::Cancel(CancelCommand {
                operation_id: row.id,
                host_uuid: row.host.clone(),
                controller_epoch: self.meta.epoch,
            }),
            trace: row.trace.clone(),
        });
        self.put_operation_silently(row);
    }
}

fn schedule_next_attempt(now: Timestamp, row: &mut OperationRow) {
    row.unanswered += 1;
    let delay_ms = retry_delay_ms(row.id, row.unanswered);
    row.next_attempt_at = now.plus_millis(delay_ms);
}
