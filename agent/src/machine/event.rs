//! Events that the machine reports for the log and the counters. No other code depends on them.

use scuttle_schemas::agents::ResultOutcome;
use scuttle_schemas::{DeckyId, ErrorCode, ErrorReply, OperationId, Text};

/// An event that is worth a log line, a count, or both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentEvent {
    /// A command for this host arrived (repeats included).
    CommandReceived,
    /// A command was ignored.
    CommandIgnored(IgnoreReason),
    /// A teardown was not started because its deadline had passed.
    CommandExpired {
        operation_id: OperationId,
        /// `None` stands for the whole host.
        decky_id: Option<DeckyId>,
    },
    /// The controller cancelled an operation before the agent started it.
    OperationCancelled(OperationId),
    /// A teardown started.
    TeardownStarted {
        operation_id: OperationId,
        /// `None` stands for the whole host.
        decky_id: Option<DeckyId>,
        /// An earlier boot of this agent had already started the teardown.
        resumed: bool,
    },
    /// A teardown ended.
    TeardownFinished {
        operation_id: OperationId,
        outcome: ResultOutcome,
        /// `None` stands for the whole host.
        decky_id: Option<DeckyId>,
        /// The error if the teardown failed.
        error: Option<Text>,
    },
    /// The controller has made a result durable.
    ResultRecorded {
        operation_id: OperationId,
        /// A remark of the controller.
        detail: Option<String>,
    },
    /// The controller rejected a result. Emitted once per operation.
    ResultRejected {
        operation_id: OperationId,
        error: ErrorReply,
    },
    /// The controller applied a heartbeat.
    HeartbeatAccepted {
        /// Whether the heartbeat contained the inventory.
        inventory: bool,
    },
    /// Another agent sends reports with this host's id. Emitted once.
    ReportsStale,
    /// The controller rejects the heartbeats of this host. Emitted once per error code.
    HostRejected { code: ErrorCode, message: String },
    /// The controller stopped replying.
    ControllerSilent,
    /// The controller replies again.
    ControllerBack,
    /// The inventory cannot be read. Emitted once per reason.
    InventoryUnreadable(String),
}

/// The reason why a command was ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IgnoreReason {
    /// The command names another host.
    OtherHost(OperationId),
    /// The epoch of the sender is lower than the highest epoch seen.
    OldEpoch {
        operation_id: OperationId,
        /// The epoch of the command.
        epoch: u64,
        /// The highest epoch seen.
        highest: u64,
    },
    /// The queue is full. The controller will resend the command.
    QueueFull(OperationId),
    /// The command cancels an operation that has already started. The operation's result is
    /// reported as usual.
    CancelTooLate(OperationId),
    /// The operation was cancelled earlier.
    AlreadyCancelled(OperationId),
}
