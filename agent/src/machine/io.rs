//! What goes into the machine and what comes out of it. No decisions here.

use std::fmt;
use std::str::FromStr;

use scuttle_schemas::agents::{
    AgentCommand, Heartbeat, HeartbeatAccepted, ProgressStep, ResultOutcome, ResultRecorded,
    TeardownProgress, TeardownResult,
};
use scuttle_schemas::{DeckyId, ErrorCode, ErrorReply, OperationId, Text, Timestamp};

use crate::ledger::Entry;
use crate::runtime::{Inventory, RuntimeError, Teardown, TeardownReport};

/// The time of one input, by both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds on a clock that never jumps: every wait is measured by it.
    pub monotonic_ms: u64,
    /// What the host's clock shows: deadlines and reports are in its terms. It may jump.
    pub wall: Timestamp,
}

/// Something happened.
#[derive(Debug, Clone)]
pub enum Input {
    /// The connection to NATS is up.
    Connected,
    /// The connection to NATS is down; what was asked is not answered any more.
    Disconnected,
    /// A command came.
    Command {
        /// The command.
        command: AgentCommand,
        /// Its trace context, to be passed on.
        traceparent: Option<String>,
    },
    /// The runtime is at this step of the running teardown.
    Progress(Progress),
    /// The runtime is done with a teardown, and has looked again.
    Finished {
        /// The operation.
        operation_id: OperationId,
        /// What became of its deckies.
        report: TeardownReport,
    },
    /// `Effect::ReadInventory` is done.
    InventoryRead(Result<Inventory, RuntimeError>),
    /// The inventory may have changed.
    InventoryChanged,
    /// A heartbeat's page is answered.
    HeartbeatAnswered {
        /// The heartbeat's number.
        sequence: u64,
        /// Which page.
        page: u32,
        /// The answer.
        answer: Result<HeartbeatAccepted, Unanswered>,
    },
    /// A result is answered.
    ResultAnswered {
        /// The operation.
        operation_id: OperationId,
        /// The answer.
        answer: Result<ResultRecorded, Unanswered>,
    },
    /// `Machine::next_deadline` is reached.
    Tick,
}

/// How far the runtime is with a teardown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The operation.
    pub operation_id: OperationId,
    /// The step.
    pub step: ProgressStep,
    /// At which decky.
    pub decky_id: Option<DeckyId>,
    /// How many deckies are done.
    pub done: Option<u32>,
    /// Of how many.
    pub total: Option<u32>,
}

/// A request got no answer that it hoped for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unanswered {
    /// The controller refused it.
    Refused(ErrorReply),
    /// Nobody listens.
    NoResponders,
    /// The answer is none that the protocol knows.
    Unreadable,
}

/// What one input brings about. **The writes are made durable first; only then do the effects leave.**
#[derive(Debug, Default)]
#[must_use]
pub struct Step {
    /// To be appended to the ledger, in order.
    pub writes: Vec<Entry>,
    /// To be done after that, in order.
    pub effects: Vec<Effect>,
}

impl Step {
    pub(super) fn note(&mut self, note: Note) {
        self.effects.push(Effect::Note(note));
    }
}

/// Something to do.
#[derive(Debug, Clone)]
pub enum Effect {
    /// Call `Runtime::teardown`; its end is `Input::Finished`.
    StartTeardown {
        /// Of what.
        teardown: Teardown,
        /// The command's trace context.
        traceparent: Option<String>,
    },
    /// Call `Runtime::inventory`; its end is `Input::InventoryRead`. At most one runs at a time.
    ReadInventory,
    /// Publish.
    PublishProgress {
        /// The message.
        message: TeardownProgress,
        /// Its trace context.
        traceparent: Option<String>,
    },
    /// Send a request; its answer is `Input::ResultAnswered`. The machine minds the time.
    RequestResult {
        /// The message.
        message: TeardownResult,
        /// Its trace context.
        traceparent: Option<String>,
    },
    /// Send a request; its answer is `Input::HeartbeatAnswered`. The machine minds the time.
    RequestHeartbeat(Heartbeat),
    /// Log and count.
    Note(Note),
}

/// Which request an answer belongs to, as it is written in the last token of a reply subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestId {
    /// One page of a heartbeat.
    Heartbeat {
        /// The heartbeat's number.
        sequence: u64,
        /// Which page.
        page: u32,
    },
    /// A result.
    Result(OperationId),
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Heartbeat { sequence, page } => write!(f, "h-{sequence}-{page}"),
            Self::Result(operation_id) => write!(f, "r-{operation_id}"),
        }
    }
}

/// A token that is no `RequestId`.
#[derive(Debug, thiserror::Error)]
#[error("the reply subject's last token is no request of this agent")]
pub struct InvalidRequestId;

impl FromStr for RequestId {
    type Err = InvalidRequestId;
    fn from_str(token: &str) -> Result<Self, InvalidRequestId> {
        let invalid = |_| InvalidRequestId;
        match token.split_once('-').ok_or(InvalidRequestId)? {
            ("h", rest) => {
                let (sequence, page) = rest.split_once('-').ok_or(InvalidRequestId)?;
                Ok(Self::Heartbeat {
                    sequence: sequence.parse().map_err(invalid)?,
                    page: page.parse().map_err(invalid)?,
                })
            }
            ("r", id) => id.parse().map(Self::Result).map_err(|_| InvalidRequestId),
            _ => Err(InvalidRequestId),
        }
    }
}

/// Something worth a log line, a count, or both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// A command for this host came (repeats included).
    Command,
    /// A command was left alone.
    Ignored(Ignored),
    /// A command came, or its turn came, too late.
    Expired {
        /// The operation.
        operation_id: OperationId,
        /// Its decky; `None`: the whole host.
        decky_id: Option<DeckyId>,
    },
    /// An operation will not be begun: the controller has withdrawn it.
    Withdrawn(OperationId),
    /// A teardown began.
    TeardownStarted {
        /// The operation.
        operation_id: OperationId,
        /// Its decky; `None`: the whole host.
        decky_id: Option<DeckyId>,
        /// An earlier boot of this agent had begun it.
        resumed: bool,
    },
    /// A teardown ended.
    TeardownFinished {
        /// The operation.
        operation_id: OperationId,
        /// How.
        outcome: ResultOutcome,
        /// Its decky; `None`: the whole host.
        decky_id: Option<DeckyId>,
        /// Why it failed.
        error: Option<Text>,
    },
    /// The controller has a result on disk.
    ResultRecorded {
        /// The operation.
        operation_id: OperationId,
        /// What the controller said beside that.
        detail: Option<String>,
    },
    /// The controller refused a result; told once per operation.
    ResultRefused {
        /// The operation.
        operation_id: OperationId,
        /// Why.
        refusal: ErrorReply,
    },
    /// A heartbeat was applied.
    HeartbeatAccepted {
        /// It carried the inventory.
        inventory: bool,
    },
    /// Another agent runs under this host's id; told once.
    Stale,
    /// The controller does not take this host's heartbeats; told once until the reason changes.
    HostRefused {
        /// Why.
        code: ErrorCode,
        /// In the controller's words.
        message: String,
    },
    /// The controller stopped answering.
    ControllerSilent,
    /// The controller answers again.
    ControllerBack,
    /// The inventory cannot be read; told once until the reason changes.
    InventoryUnreadable(String),
}

/// Why a command was left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ignored {
    /// It names another host.
    OtherHost(OperationId),
    /// Its sender's epoch is lower than one already seen.
    OldEpoch {
        /// The operation.
        operation_id: OperationId,
        /// The command's.
        epoch: u64,
        /// The highest seen.
        highest: u64,
    },
    /// Too many commands wait; the controller sends it again.
    QueueFull(OperationId),
    /// It withdraws an operation that was begun: its result is told as always.
    TooLate(OperationId),
    /// Its operation was withdrawn before.
    Withdrawn(OperationId),
}
