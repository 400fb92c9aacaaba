//! Commands.

use scuttle_schemas::agents::{AgentCommand, CancelCommand, TeardownCommand};
use scuttle_schemas::{HostId, OperationId, Timestamp};

use crate::api::Effect;
use crate::record::rows::OperationRow;
use crate::state::State;
use crate::time::backoff;

impl State {
    /// Sends an open operation's command again.
    pub(crate) fn send_command(&mut self, now: Timestamp, id: OperationId) {
        let Some(row) = self.operations.get(&id) else {
            return;
        };
        let mut row = OperationRow::clone(row);
        self.command(now, &mut row);
        self.put_operation(row);
    }

    /// Sends a command, and notes in the row when it is sent again.
    pub(crate) fn command(&mut self, now: Timestamp, row: &mut OperationRow) {
        row.attempts += 1;
        self.stats.events.retries += u64::from(row.attempts > 1);
        row.unanswered += 1;
        row.next_attempt_at = now.plus_millis(backoff::delay_ms(row.id, row.unanswered));
        let command = TeardownCommand {
            operation_id: row.id,
            host_uuid: row.host.clone(),
            decky_id: row.decky.clone(),
            attempt: row.attempts,
            controller_epoch: self.meta.epoch,
            not_after: row.deadline,
        };
        self.batch.effects.push(Effect::Command {
            host: row.host.clone(),
            command: AgentCommand::Teardown(command),
            trace: row.trace.clone(),
        });
    }

    /// Sends the commands of all of a host's open operations, oldest first: its agent is back, or has
    /// restarted.
    pub(crate) fn send_all_commands(&mut self, now: Timestamp, host: &HostId) {
        let open: Vec<OperationId> = match self.hosts.get(host) {
            Some(host) => host.open.iter().copied().collect(),
            None => return,
        };
        for id in open {
            let Some(row) = self.operations.get(&id) else {
                continue;
            };
            let mut row = OperationRow::clone(row);
            row.unanswered = 0;
            self.command(now, &mut row);
            self.put_operation(row);
        }
    }

    /// Tells the agent not to begin, and notes when it is told again.
    pub(crate) fn withdraw(&mut self, now: Timestamp, mut row: OperationRow) {
        row.unanswered += 1;
        row.next_attempt_at = now.plus_millis(backoff::delay_ms(row.id, row.unanswered));
        self.batch.effects.push(Effect::Command {
            host: row.host.clone(),
            command: AgentCommand::Cancel(CancelCommand {
                operation_id: row.id,
                host_uuid: row.host.clone(),
                controller_epoch: self.meta.epoch,
            }),
            trace: row.trace.clone(),
        });
        self.keep_operation(row);
    }
}
