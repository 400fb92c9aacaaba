//! The rules that apply to an agent across its restarts: it executes an operation at most once,
//! never executes a cancelled operation, and executes no operation for a deposed leader.

use std::collections::BTreeSet;

use scuttle_agent::machine::Effect;
use scuttle_schemas::OperationId;
use scuttle_schemas::agents::AgentCommand;

use crate::oracle::violation::{AT_MOST_ONCE, Violation};

/// The actions of one host's agents so far, across their restarts.
#[derive(Debug, Default)]
pub(crate) struct AgentHistory {
    /// The operations whose result was reported.
    ended: BTreeSet<OperationId>,
    started: BTreeSet<OperationId>,
    /// The operations that were cancelled before they were started.
    cancelled: BTreeSet<OperationId>,
    highest_epoch: u64,
}

impl AgentHistory {
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
        for effect in effects {
            let Effect::StartTeardown { teardown, .. } = effect else {
                continue;
            };
            let id = teardown.operation_id;
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
        }
        if let Some(AgentCommand::Cancel(command)) = command
            && epoch >= self.highest_epoch
            && !self.started.contains(&command.operation_id)
            && !self.ended.contains(&command.operation_id)
        {
            self.cancelled.insert(command.operation_id);
        }
        self.highest_epoch = self.highest_epoch.max(epoch);
        Ok(())
    }
}
