//! The events of the simulation.

use crate::state::agents::deckies::Observation;
use crate::state::connection::{Connection, Delivery};

/// What happens next.
#[derive(Debug)]
pub(crate) enum Event {
    Deliver(Delivery),
    Reconnect(Connection),
    NoticeConnection(Connection),
    StartController(usize),
    Decide(usize, u64),
    Commit(usize, u64),
    SendCommitted(usize, u64),
    Wake(usize, u64, u64),
    CheckLease(usize, u64),
    TakeOver(usize, u64),
    GatherTimeout(usize, u64, u64, usize),
    FreeDiskSpace(usize),
    RestoreServers,
    StartAgent(usize),
    AgentTick(usize, u64),
    ReadInventory(usize, u64, Box<Observation>),
    RemoveDecky(usize, u64),
    VerifyTeardown(usize, u64, Box<Observation>),
    RestoreInventory(usize),
    Work,
    Fault,
    OperatorTimeout(u64),
    PageTimeout(usize, usize, u64),
    Subscribe(usize),
    StopFaults,
    CheckSettled,
}

impl Event {
    /// The controller to whose process it happens, if it does.
    pub(crate) fn process_of_controller(&self) -> Option<usize> {
        match self {
            Event::Deliver(Delivery {
                to: Connection::Controller(controller),
                ..
            })
            | Event::Decide(controller, _)
            | Event::Commit(controller, _)
            | Event::SendCommitted(controller, _)
            | Event::Wake(controller, _, _)
            | Event::CheckLease(controller, _)
            | Event::TakeOver(controller, _)
            | Event::GatherTimeout(controller, ..) => Some(*controller),
            _ => None,
        }
    }
}
