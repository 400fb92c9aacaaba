//! Events that the machine reports for the log and the counters. No other code depends on them.

use scuttle_schemas::agents::ResultOutcome;
use scuttle_schemas::{BootId, DeckyId, ErrorCode, ErrorReply, OperationId, Text};

/// An event that is worth a log line, a count, or both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentEvent {
    /// A command for this host arrived, and its epoch is not outdated. Repeated commands count.
    CommandReceived,
    /// A command was ignored for the given reason.
    CommandIgnored(IgnoreReason),
    /// A teardown was not started or resumed because its deadline had passed.
    CommandExpired {
        operation_id: OperationId,
        /// `None` stands for the whole host.
        decky_id: Option<DeckyId>,
    },
    /// The controller cancelled an operation before the agent started it.
    OperationCancelled(OperationId),
    /// A teardown started or, after a restart of the agent, was resumed.
    TeardownStarted {
        operation_id: OperationId,
        /// `None` stands for the whole host.
        decky_id: Option<DeckyId>,
        /// Whether an earlier boot of this agent had already started the teardown.
        resumed: bool,
    },
    /// A teardown ended, successfully or not. A teardown that expired ends as failed.
    TeardownFinished {
        operation_id: OperationId,
        outcome: ResultOutcome,
        /// `None` stands for the whole host.
        decky_id: Option<DeckyId>,
        /// The error of a failed teardown, or `None` if the teardown succeeded.
        error: Option<Text>,
    },
    /// The controller has made a result durable.
    ResultRecorded {
        operation_id: OperationId,
        /// A remark of the controller.
        detail: Option<String>,
    },
    /// The controller rejected the first attempt to send a result. Rejections of later attempts are
    /// not reported. The attempts are counted from 1 again when the connection is restored or a
    /// silent controller replies.
    ResultRejected {
        operation_id: OperationId,
        error: ErrorReply,
    },
    /// The controller applied a heartbeat.
    HeartbeatAccepted {
        /// Whether the heartbeat contained the inventory.
        inventory: bool,
    },
    /// A heartbeat was stale, which means that another agent sends reports with this host's id.
    /// Emitted once per boot.
    ReportsStale,
    /// A heartbeat was accepted, but an agent of an earlier boot also sends reports with this
    /// host's id. Emitted when the controller first reports the other agent.
    OtherAgentReports,
    /// The agent continues with a new boot id, because the other agent, whose reports made those of
    /// this agent stale, is silent.
    BootReplaced {
        /// The boot of the other agent.
        silent: BootId,
    },
    /// The controller rejects the heartbeats of this host. Emitted for the first rejection after an
    /// accepted heartbeat, and whenever the error code changes.
    HostRejected { code: ErrorCode, message: String },
    /// The controller stopped replying.
    ControllerSilent,
    /// The controller replies again.
    ControllerBack,
    /// The inventory cannot be read. Emitted for the first failure after a successful read, and
    /// whenever the reason changes.
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
    /// The command cancels an operation that has already started or ended. The operation's result
    /// is reported as usual.
    CancelTooLate(OperationId),
    /// The operation was cancelled earlier.
    AlreadyCancelled(OperationId),
}
