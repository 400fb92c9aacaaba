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

/// An action for the caller to carry out.
#[derive(Debug, Clone)]
pub enum Effect {
    /// Call `Runtime::teardown` and report its end as `Input::Finished`.
    StartTeardown {
        teardown: Teardown,
        /// The trace context of the command.
        traceparent: Option<String>,
    },
    /// Call `Runtime::inventory` and report its outcome as `Input::InventoryRead`. At most one read
    /// runs at a time.
    ReadInventory,
    /// Publish a progress message.
    PublishProgress {
        message: TeardownProgress,
        traceparent: Option<String>,
    },
    /// Send a result and report the reply as `Input::ResultReply`. The machine handles the timeout.
    RequestResult {
        message: TeardownResult,
        traceparent: Option<String>,
    },
    /// Send a page of a heartbeat and report the reply as `Input::HeartbeatReply`. The machine
    /// handles the timeout.
    RequestHeartbeat(Heartbeat),
    /// Log and count an event.
    Emit(AgentEvent),
}
