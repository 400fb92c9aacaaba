//! The outputs of the machine: entries to make durable, and effects to carry out after that. No
//! decisions are made here.

use scuttle_schemas::agents::{Heartbeat, TeardownProgress, TeardownResult};

use super::event::AgentEvent;
use crate::ledger::Entry;
use crate::runtime::Teardown;

/// The outcome of one input. **Make `writes` durable first. Only then carry out `effects`.**
#[derive(Debug, Default)]
#[must_use]
pub struct Step {
    /// The entries to append to the ledger, in order.
    pub writes: Vec<Entry>,
    /// The effects to carry out once the writes are durable, in order.
    pub effects: Vec<Effect>,
}

impl Step {
    pub(super) fn emit(&mut self, event: AgentEvent) {
        self.effects.push(Effect::Emit(event));
    }
}

/// An action that the agent's loop, or a simulation, carries out for the machine.
#[derive(Debug, Clone)]
pub enum Effect {
    /// A call of `Runtime::teardown`, whose end is reported as `Input::Finished`. Several such
    /// calls may run at the same time.
    StartTeardown {
        teardown: Teardown,
        /// The trace context of the command.
        traceparent: Option<String>,
    },
    /// A call to `Runtime::inventory`. Its outcome is reported as `Input::InventoryRead`. At most
    /// one such call runs at a time.
    ReadInventory,
    /// A progress message to publish. No reply is expected.
    PublishProgress {
        message: TeardownProgress,
        traceparent: Option<String>,
    },
    /// A result to send. The reply is reported as `Input::ResultReply`. The machine handles the
    /// timeout.
    RequestResult {
        message: TeardownResult,
        traceparent: Option<String>,
    },
    /// A page of a heartbeat to send. The reply is reported as `Input::HeartbeatReply`. The machine
    /// handles the timeout.
    RequestHeartbeat(Heartbeat),
    /// An event to log and count.
    Emit(AgentEvent),
}
