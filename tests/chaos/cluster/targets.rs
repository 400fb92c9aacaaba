//! The targets of faults: programs, and the network routes between programs and servers.

use scuttle_schemas::Partition;

/// A program that a fault can kill or stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Program {
    /// The nats-server with this number.
    Nats(usize),
    /// The nats-server that leads the stream of this partition's journal when the fault occurs.
    NatsOfStream(Partition),
    /// The controller with this number.
    Controller(usize),
    /// The controller that leads this partition when the fault occurs.
    Leader(Partition),
    /// The group of simulated hosts with this number. One process simulates a whole group.
    Group(usize),
}

/// A network route through a proxy, from one or more clients to the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Route {
    /// The route of the controller with this number.
    Controller(usize),
    /// The route of the controller that leads this partition when the fault occurs.
    Leader(Partition),
    /// The shared route of the operators with odd numbers.
    Operators,
    /// The shared route of the viewer and one of the two broadcast recorders.
    Viewer,
    /// The route of the group of simulated hosts with this number.
    Group(usize),
}
