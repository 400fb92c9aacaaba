//! The events that the simulation handles in the order of simulated time.

use scuttle_schemas::OperationId;

use crate::state::agents::deckies::Observation;
use crate::state::connection::{Connection, Delivery};

/// An event at a point in simulated time. Controllers and hosts are identified by index. A run
/// number or boot number ensures that an event for an earlier process does not reach a later
/// process.
#[derive(Debug)]
pub(crate) enum Event {
    Deliver(Delivery),
    Reconnect(Connection),
    ResetAgents,
    StrayHeartbeat(usize),
    NoticeConnection(Connection),
    StartController(usize),
    Decide {
        controller: usize,
        run: u64,
    },
    Commit {
        controller: usize,
        run: u64,
    },
    SendCommitted {
        controller: usize,
        run: u64,
    },
    Wake {
        controller: usize,
        run: u64,
        wake: u64,
    },
    CheckLease {
        controller: usize,
        run: u64,
    },
    TakeOver {
        controller: usize,
        run: u64,
    },
    GatherTimeout {
        controller: usize,
        run: u64,
        gather: u64,
        requested: usize,
    },
    FreeDiskSpace(usize),
    RestoreServers,
    RestoreJournal(usize),
    StartAgent(usize),
    AgentTick {
        host: usize,
        boot: u64,
    },
    ReadInventory {
        host: usize,
        boot: u64,
        observation: Box<Observation>,
    },
    RemoveDecky {
        host: usize,
        boot: u64,
        operation: OperationId,
    },
    VerifyTeardown {
        host: usize,
        boot: u64,
        observation: Box<Observation>,
    },
    RestoreInventory(usize),
    Work,
    Fault,
    OperatorTimeout(u64),
    PageTimeout {
        subscriber: usize,
        subject: usize,
        listing: u64,
    },
    Subscribe(usize),
    StopFaults,
    CheckSettled,
}

impl Event {
    /// Returns the controller whose process handles the event, if the event is for a controller.
    pub(crate) fn process_of_controller(&self) -> Option<usize> {
        match self {
            Event::Deliver(Delivery {
                to: Connection::Controller(controller),
                ..
            })
            | Event::Decide { controller, .. }
            | Event::Commit { controller, .. }
            | Event::SendCommitted { controller, .. }
            | Event::Wake { controller, .. }
            | Event::CheckLease { controller, .. }
            | Event::TakeOver { controller, .. }
            | Event::GatherTimeout { controller, .. } => Some(*controller),
            _ => None,
        }
    }
}
