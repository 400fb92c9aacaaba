//! The rules that apply to an agent across its restarts: it executes an operation at most once,
//! never executes a cancelled operation, and executes no operation for a deposed leader. The order
//! of its commands is in `command_order`.

use std::collections::BTreeSet;

use scuttle_agent::ledger::Entry;
use scuttle_agent::machine::{AgentEvent, Effect};
use scuttle_schemas::OperationId;
use scuttle_schemas::agents::AgentCommand;

use crate::oracle::command_order::CommandOrder;
use crate::oracle::violation::{AT_MOST_ONCE, Violation};

/// The teardown commands of one host since the current boot of its agent started.
#[derive(Debug, Default)]
pub(crate) struct BootCommands {
    pub(crate) sent: BTreeSet<OperationId>,
    pub(crate) arrived: BTreeSet<OperationId>,
}

/// The actions of one host's agents so far, across their restarts.
#[derive(Debug, Default)]
pub(crate) struct AgentHistory {
    /// The operations whose result was reported, or is in the ledger.
    ended: BTreeSet<OperationId>,
    started: BTreeSet<OperationId>,
    /// The operations that were cancelled before they were started.
    cancelled: BTreeSet<OperationId>,
    highest_epoch: u64,
    pub(crate) boot_commands: BootCommands,
    order: CommandOrder,
}

impl AgentHistory {
    /// Notes the start of an agent process from the entries of its ledger. A write that was
    /// reported as failed may be in the ledger nevertheless.
    pub(crate) fn start_boot(&mut self, concurrency: usize, entries: &[Entry]) {
        self.order.start_boot(concurrency);
        self.boot_commands = BootCommands::default();
        for entry in entries {
            match entry {
                Entry::Epoch { controller_epoch } => {
                    self.highest_epoch = self.highest_epoch.max(*controller_epoch);
                }
                Entry::Started(teardown) => {
                    self.started.insert(teardown.operation_id);
                    self.order
                        .note_command(teardown.operation_id, teardown.decky_id.clone());
                }
                Entry::Finished(teardown) => {
                    self.ended.insert(teardown.result.operation_id);
                    self.order.note_end(teardown.result.operation_id);
                }
                Entry::Cancelled { operation_id } => {
                    self.cancelled.insert(*operation_id);
                }
                Entry::Boot { .. } | Entry::Recorded { .. } => {}
            }
        }
    }

    /// Returns whether the result of an operation was reported, or is in the ledger.
    pub(crate) fn has_ended(&self, operation: OperationId) -> bool {
        self.ended.contains(&operation)
    }

    /// Notes that an agent has reported the result of an operation.
    pub(crate) fn note_result(&mut self, operation: OperationId) {
        self.ended.insert(operation);
    }

    /// Checks the teardowns that an agent starts in one step, and notes them. `command` is the
    /// command that caused the step, if any.
    pub(crate) fn check_step(
        &mut self,
        command: Option<&AgentCommand>,
        effects: &[Effect],
    ) -> Result<(), Violation> {
        let epoch = match command {
            Some(AgentCommand::Teardown(command)) => command.controller_epoch,
            Some(AgentCommand::Cancel(command)) => command.controller_epoch,
            None => self.highest_epoch,
        };
        if epoch >= self.highest_epoch {
            self.note_command(command);
        }
        for effect in effects {
            match effect {
                Effect::StartTeardown { teardown, .. } => {
                    self.check_start(teardown.operation_id, epoch)?;
                }
                Effect::Emit(AgentEvent::TeardownFinished { operation_id, .. }) => {
                    self.ended.insert(*operation_id);
                    self.order.note_end(*operation_id);
                }
                _ => {}
            }
        }
        self.highest_epoch = self.highest_epoch.max(epoch);
        self.order.check_none_startable()
    }

    fn note_command(&mut self, command: Option<&AgentCommand>) {
        match command {
            Some(AgentCommand::Teardown(command)) => {
                let id = command.operation_id;
                let is_cancelled = self.cancelled.contains(&id) && !self.started.contains(&id);
                if !is_cancelled && !self.ended.contains(&id) {
                    self.order.note_command(id, command.decky_id.clone());
                }
            }
            Some(AgentCommand::Cancel(command)) => {
                let id = command.operation_id;
                if !self.started.contains(&id) && !self.ended.contains(&id) {
                    self.cancelled.insert(id);
                    self.order.note_end(id);
                }
            }
            None => {}
        }
    }

    fn check_start(&mut self, id: OperationId, epoch: u64) -> Result<(), Violation> {
        let violation = |what: &str| Err(Violation::new(AT_MOST_ONCE, format!("{id} {what}")));
        if self.ended.contains(&id) {
            return violation("is executed again, after its result was reported");
        }
        if self.cancelled.contains(&id) && !self.started.contains(&id) {
            return violation("is executed, although it was cancelled before");
        }
        if epoch < self.highest_epoch {
            return violation("is executed for a controller with an older epoch");
        }
        self.started.insert(id);
        self.order.check_start(id)
    }
}
