//! The rules for the order of an agent's commands:
//!
//! - At most as many teardowns run at the same time as the agent is configured for.
//! - Commands for the same decky run one after another, in order of arrival.
//! - A whole-host command waits for the commands before it, and the commands after it wait for it.
//! - A command that need not wait is started.

use scuttle_schemas::{DeckyId, OperationId};

use crate::oracle::violation::{COMMAND_ORDER, Violation, ensure};

/// A command that an agent has received and whose operation has not ended on its host.
#[derive(Debug)]
struct Command {
    operation: OperationId,
    /// `None` stands for the whole host.
    target: Option<DeckyId>,
    runs: bool,
}

/// The unfinished commands of one agent process, in order of arrival.
#[derive(Debug, Default)]
pub(crate) struct CommandOrder {
    concurrency: usize,
    commands: Vec<Command>,
}

impl CommandOrder {
    /// Notes the start of an agent process that runs at most `concurrency` teardowns at the same
    /// time. No teardown runs, and no command has arrived.
    pub(crate) fn start_boot(&mut self, concurrency: usize) {
        self.concurrency = concurrency;
        self.commands.clear();
    }

    /// Notes a command, or a teardown that the agent has to resume. A repeated command changes
    /// nothing.
    pub(crate) fn note_command(&mut self, operation: OperationId, target: Option<DeckyId>) {
        let is_known = |command: &Command| command.operation == operation;
        if !self.commands.iter().any(is_known) {
            self.commands.push(Command {
                operation,
                target,
                runs: false,
            });
        }
    }

    /// Notes that an operation has ended or was cancelled.
    pub(crate) fn note_end(&mut self, operation: OperationId) {
        self.commands
            .retain(|command| command.operation != operation);
    }

    /// Checks a teardown that the agent starts, and notes it.
    pub(crate) fn check_start(&mut self, operation: OperationId) -> Result<(), Violation> {
        let violation = |what: String| Err(Violation::new(COMMAND_ORDER, what));
        let position = (self.commands.iter())
            .position(|command| command.operation == operation && !command.runs);
        let Some(position) = position else {
            return violation(format!("{operation} starts without a command"));
        };
        let running = (self.commands.iter())
            .filter(|command| command.runs)
            .count();
        if running >= self.concurrency {
            return violation(format!("{operation} starts while {running} teardowns run"));
        }
        if let Some(earlier) = self.find_obstacle(position) {
            return violation(format!(
                "{operation} starts before {} has ended, which arrived earlier",
                earlier.operation
            ));
        }
        self.commands[position].runs = true;
        Ok(())
    }

    /// Checks that no command waits that may start.
    pub(crate) fn check_none_startable(&self) -> Result<(), Violation> {
        let running = self.commands.iter().filter(|command| command.runs).count();
        let startable = (self.commands.iter().enumerate())
            .find(|(position, command)| !command.runs && self.find_obstacle(*position).is_none());
        let waits = running < self.concurrency && startable.is_some();
        ensure(!waits, COMMAND_ORDER, || {
            format!("{startable:?} may start, but waits")
        })
    }

    /// Returns a command before the command at `position` that has not ended and for which this
    /// command must wait.
    fn find_obstacle(&self, position: usize) -> Option<&Command> {
        let target = self.commands[position].target.as_ref();
        self.commands[..position]
            .iter()
            .find(|earlier| match (&earlier.target, target) {
                (Some(earlier), Some(decky)) => earlier == decky,
                (None, _) | (_, None) => true,
            })
    }
}
