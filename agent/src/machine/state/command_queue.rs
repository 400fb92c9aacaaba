//! The commands that have not finished, and the rules for their order:
//!
//! - Commands for the same decky run one after another, in order of arrival.
//! - A whole-host command waits for the commands before it, and the commands after it wait for it.
//! - All other commands run at the same time, up to a limit.
//!
//! The rules apply to teardowns that an earlier boot started too. No other file decides which
//! command starts.

use std::collections::VecDeque;

use scuttle_schemas::agents::TeardownCommand;
use scuttle_schemas::{DeckyId, OperationId};

use crate::ledger::StartedTeardown;
use crate::runtime::Progress;

/// The unfinished commands: those that run, and those that wait for their turn.
#[derive(Debug)]
pub(crate) struct CommandQueue {
    /// The maximum number of teardowns that run at the same time.
    concurrency: usize,
    /// The running teardowns, in the order in which they started.
    running: Vec<RunningTeardown>,
    /// The waiting commands, in order of arrival.
    waiting: VecDeque<QueuedCommand>,
}

/// A teardown that the runtime is executing.
#[derive(Debug)]
pub(crate) struct RunningTeardown {
    pub(crate) started: StartedTeardown,
    /// The last progress that the runtime reported.
    pub(crate) latest: Progress,
    /// The time at which progress was last published, in milliseconds on the monotonic clock.
    pub(crate) published_at: u64,
}

impl RunningTeardown {
    pub(crate) fn operation_id(&self) -> OperationId {
        self.started.operation_id
    }

    /// Returns the decky to tear down, or `None` for the whole host.
    fn target(&self) -> Option<&DeckyId> {
        self.started.decky_id.as_ref()
    }
}

/// A command that waits for its turn.
#[derive(Debug)]
pub(crate) enum QueuedCommand {
    /// A teardown that an earlier boot started. Its `Started` entry is already in the ledger.
    Resumed(StartedTeardown),
    /// A command that arrived during this boot.
    New {
        command: TeardownCommand,
        traceparent: Option<String>,
    },
}

impl QueuedCommand {
    pub(crate) fn operation_id(&self) -> OperationId {
        match self {
            Self::Resumed(started) => started.operation_id,
            Self::New { command, .. } => command.operation_id,
        }
    }

    /// Returns the decky to tear down, or `None` for the whole host.
    fn target(&self) -> Option<&DeckyId> {
        match self {
            Self::Resumed(started) => started.decky_id.as_ref(),
            Self::New { command, .. } => command.decky_id.as_ref(),
        }
    }
}

/// Returns whether a command must wait for an earlier command. A target of `None` stands for the
/// whole host.
fn must_wait(target: Option<&DeckyId>, earlier_target: Option<&DeckyId>) -> bool {
    match (earlier_target, target) {
        (Some(earlier), Some(decky)) => earlier == decky,
        (None, _) | (_, None) => true,
    }
}

impl CommandQueue {
    /// Creates an empty queue that runs at most `concurrency` teardowns at the same time.
    pub(crate) fn new(concurrency: usize) -> Self {
        Self {
            concurrency,
            running: Vec::new(),
            waiting: VecDeque::new(),
        }
    }

    pub(crate) fn push(&mut self, command: QueuedCommand) {
        self.waiting.push_back(command);
    }

    /// Removes the first waiting command that may start, and returns it. Returns `None` if no
    /// command may start, or if as many teardowns run as are allowed.
    ///
    /// A command may start if it need not wait for any command before it. A running teardown for
    /// which a waiting command must wait has always arrived before that command.
    pub(crate) fn take_startable(&mut self) -> Option<QueuedCommand> {
        if self.running.len() >= self.concurrency {
            return None;
        }
        let running = self.running.iter();
        let mut earlier: Vec<_> = running.map(|teardown| teardown.target()).collect();
        for (position, command) in self.waiting.iter().enumerate() {
            let target = command.target();
            if !earlier.iter().any(|earlier| must_wait(target, *earlier)) {
                return self.waiting.remove(position);
            }
            if target.is_none() {
                // All later commands wait for this whole-host command.
                break;
            }
            earlier.push(target);
        }
        None
    }

    /// Adds a teardown that starts now.
    pub(crate) fn start(&mut self, teardown: RunningTeardown) {
        self.running.push(teardown);
    }

    /// Removes a running teardown that has ended. Returns `None` if the operation is not running.
    pub(crate) fn finish(&mut self, operation_id: OperationId) -> Option<RunningTeardown> {
        let position =
            (self.running.iter()).position(|teardown| teardown.operation_id() == operation_id)?;
        Some(self.running.remove(position))
    }

    /// Removes a command from the queue, unless this boot or an earlier one has started its
    /// teardown. Returns true if the teardown was started.
    pub(crate) fn remove_unless_started(&mut self, operation_id: OperationId) -> bool {
        let started = self
            .started()
            .any(|started| started.operation_id == operation_id);
        if !started {
            self.waiting
                .retain(|queued| queued.operation_id() != operation_id);
        }
        started
    }

    /// Returns the unfinished teardowns that have a `Started` entry in the ledger: first those that
    /// run, then those that an earlier boot started and that wait for their turn.
    pub(crate) fn started(&self) -> impl Iterator<Item = &StartedTeardown> {
        let resumed = self.waiting.iter().filter_map(|queued| match queued {
            QueuedCommand::Resumed(started) => Some(started),
            QueuedCommand::New { .. } => None,
        });
        self.running
            .iter()
            .map(|running| &running.started)
            .chain(resumed)
    }

    pub(crate) fn running_ids(&self) -> impl Iterator<Item = OperationId> {
        self.running.iter().map(RunningTeardown::operation_id)
    }

    pub(crate) fn is_running(&self, operation_id: OperationId) -> bool {
        self.running_ids().any(|running| running == operation_id)
    }

    pub(crate) fn find_running(
        &mut self,
        operation_id: OperationId,
    ) -> Option<&mut RunningTeardown> {
        (self.running.iter_mut()).find(|running| running.operation_id() == operation_id)
    }

    pub(crate) fn is_waiting(&self, operation_id: OperationId) -> bool {
        self.waiting
            .iter()
            .any(|queued| queued.operation_id() == operation_id)
    }

    pub(crate) fn waiting_count(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use scuttle_schemas::{OperationId, Timestamp};
    use uuid::Uuid;

    use super::{CommandQueue, Progress, QueuedCommand, RunningTeardown, StartedTeardown};

    fn operation_id(operation: u128) -> OperationId {
        OperationId(Uuid::from_u128(operation))
    }

    /// Creates a queue in which these commands wait: operation 1, 2, … for each target in turn.
    fn queue(concurrency: usize, targets: &[Option<&str>]) -> CommandQueue {
        let mut queue = CommandQueue::new(concurrency);
        for (operation, target) in (1..).zip(targets) {
            queue.push(QueuedCommand::Resumed(StartedTeardown {
                operation_id: operation_id(operation),
                decky_id: target.map(|decky| decky.parse().expect("valid")),
                not_after: Timestamp::from_millis(0),
                override_protection: false,
                traceparent: None,
                started_at: Timestamp::from_millis(0),
            }));
        }
        queue
    }

    /// Starts every command that may start, and returns the operations.
    fn start_all(queue: &mut CommandQueue) -> Vec<u128> {
        let mut operations = Vec::new();
        while let Some(QueuedCommand::Resumed(started)) = queue.take_startable() {
            let operation_id = started.operation_id;
            operations.push(operation_id.0.as_u128());
            queue.start(RunningTeardown {
                started,
                latest: Progress::started(operation_id),
                published_at: 0,
            });
        }
        operations
    }

    fn finish(queue: &mut CommandQueue, operation: u128) -> Vec<u128> {
        assert!(queue.finish(operation_id(operation)).is_some());
        start_all(queue)
    }

    #[test]
    fn commands_for_different_deckies_run_at_the_same_time_up_to_the_limit() {
        let mut commands = queue(2, &[Some("a"), Some("b"), Some("c"), Some("d")]);
        assert_eq!(start_all(&mut commands), [1, 2]);
        assert_eq!(finish(&mut commands, 2), [3]);
        assert_eq!(finish(&mut commands, 1), [4]);
        let mut commands = queue(1, &[Some("a"), Some("b")]);
        assert_eq!(start_all(&mut commands), [1]);
        assert_eq!(finish(&mut commands, 1), [2]);
    }

    #[test]
    fn commands_for_the_same_decky_run_one_after_another_in_order_of_arrival() {
        let mut commands = queue(4, &[Some("a"), Some("a"), Some("b"), Some("a")]);
        assert_eq!(start_all(&mut commands), [1, 3]);
        assert_eq!(finish(&mut commands, 3), []);
        assert_eq!(finish(&mut commands, 1), [2]);
        assert_eq!(finish(&mut commands, 2), [4]);
    }

    #[test]
    fn a_whole_host_command_waits_for_the_commands_before_it() {
        let mut commands = queue(4, &[Some("a"), Some("b"), None]);
        assert_eq!(start_all(&mut commands), [1, 2]);
        assert_eq!(finish(&mut commands, 1), []);
        assert_eq!(finish(&mut commands, 2), [3]);
    }

    #[test]
    fn the_commands_after_a_whole_host_command_wait_for_it() {
        let mut commands = queue(4, &[Some("a"), None, Some("b"), None, Some("c"), Some("d")]);
        assert_eq!(start_all(&mut commands), [1]);
        assert_eq!(finish(&mut commands, 1), [2]);
        assert_eq!(finish(&mut commands, 2), [3]);
        assert_eq!(finish(&mut commands, 3), [4]);
        assert_eq!(finish(&mut commands, 4), [5, 6]);
    }

    #[test]
    fn commands_no_longer_wait_for_a_removed_command() {
        let mut commands = queue(4, &[Some("a")]);
        assert_eq!(start_all(&mut commands), [1]);
        for (operation, target) in [(2, None), (3, Some("b"))] {
            commands.push(QueuedCommand::New {
                command: scuttle_schemas::agents::TeardownCommand {
                    operation_id: operation_id(operation),
                    host_uuid: "h".parse().expect("valid"),
                    decky_id: target.map(|decky: &str| decky.parse().expect("valid")),
                    attempt: 1,
                    controller_epoch: 1,
                    not_after: Timestamp::from_millis(0),
                    override_protection: false,
                },
                traceparent: None,
            });
        }
        assert!(commands.take_startable().is_none());
        assert!(!commands.remove_unless_started(operation_id(2)));
        let next = commands.take_startable().expect("startable");
        assert_eq!(next.operation_id(), operation_id(3));
    }
}
