//! The inputs of the machine, and the clock readings that accompany each input. No decisions are
//! made here.

use scuttle_schemas::agents::{AgentCommand, HeartbeatAccepted, ResultRecorded};
use scuttle_schemas::{ErrorReply, OperationId, Timestamp};

use crate::runtime::{Inventory, Progress, RuntimeError, TeardownReport};

/// The time at which an input arrived, on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds on a clock that never jumps. All timeouts and delays are measured on it.
    pub monotonic_ms: u64,
    /// The host's wall clock, which may jump. Deadlines and timestamps in reports refer to it.
    pub wall: Timestamp,
}

/// An event that the machine reacts to.
#[derive(Debug, Clone)]
pub enum Input {
    /// The connection to NATS is up.
    Connected,
    /// The connection to NATS is down. Requests in flight will get no reply.
    Disconnected,
    /// The controller sent a command.
    Command {
        command: AgentCommand,
        /// The trace context of the command, which is passed on with its progress and result.
        traceparent: Option<String>,
    },
    /// The runtime reported progress of a running teardown.
    Progress(Progress),
    /// The runtime finished a teardown, successfully or not.
    Finished {
        operation_id: OperationId,
        report: TeardownReport,
    },
    /// The outcome of `Effect::ReadInventory`.
    InventoryRead(Result<Inventory, RuntimeError>),
    /// The inventory may have changed.
    InventoryChanged,
    /// The reply to one page of a heartbeat.
    HeartbeatReply {
        request: HeartbeatPage,
        reply: Result<HeartbeatAccepted, RequestFailure>,
    },
    /// The reply to a result.
    ResultReply {
        operation_id: OperationId,
        reply: Result<ResultRecorded, RequestFailure>,
    },
    /// The time that `Machine::next_deadline` returned has come.
    Tick,
}

/// The identity of one page of a heartbeat that this boot sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeartbeatPage {
    /// The sequence number of the heartbeat.
    pub sequence: u64,
    /// The number of the page, from 1.
    pub page: u32,
}

/// The reason why a request got no usable reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestFailure {
    /// The controller rejected the request.
    Rejected(ErrorReply),
    /// No controller is subscribed.
    NoResponders,
    /// The reply does not follow the protocol.
    InvalidReply,
}
