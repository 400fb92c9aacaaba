//! The commands that have not finished: the running command, and the queue behind it.

use std::collections::VecDeque;

use scuttle_schemas::OperationId;
use scuttle_schemas::agents::TeardownCommand;

use crate::ledger::StartedTeardown;
use crate::runtime::Progress;

/// The unfinished commands. Those that an earlier boot started come first, and the others follow in
/// order of arrival.
#[derive(Debug, Default)]
pub(crate) struct CommandQueue {
    pub(crate) running: Option<RunningTeardown>,
    pub(crate) waiting: VecDeque<QueuedCommand>,
}

/// The teardown that the runtime is executing.
#[derive(Debug)]
pub(crate) struct RunningTeardown {
    pub(crate) started: StartedTeardown,
    /// The last progress that the runtime reported.
    pub(crate) latest: Progress,
    /// The time at which progress was last published, in milliseconds on the monotonic clock.
    pub(crate) published_at: u64,
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
}

impl CommandQueue {
    /// Creates a queue that begins with the teardowns that an earlier boot started.
    pub(crate) fn resume(started: impl Iterator<Item = StartedTeardown>) -> Self {
        Self {
            running: None,
            waiting: started.map(QueuedCommand::Resumed).collect(),
        }
    }

    /// Returns the unfinished teardowns that have a `Started` entry in the ledger.
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

    pub(crate) fn running_id(&self) -> Option<OperationId> {
        self.running
            .as_ref()
            .map(|running| running.started.operation_id)
    }

    pub(crate) fn is_waiting(&self, operation_id: OperationId) -> bool {
        self.waiting
            .iter()
            .any(|queued| queued.operation_id() == operation_id)
    }
}
