//! The targets of faults: programs, and the routes between a program and the servers.

use scuttle_schemas::Partition;

/// A program that can be killed and stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Program {
    /// A nats-server.
    Nats(usize),
    /// The nats-server that leads the stream of this partition's journal when the fault occurs.
    NatsOfStream(Partition),
    /// A controller.
    Controller(usize),
    /// The controller that leads this partition when the fault occurs.
    Leader(Partition),
    /// A process of simulated hosts.
    Group(usize),
}

/// The route of one or more clients to the servers, through a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Route {
    /// The route of a controller.
    Controller(usize),
    /// The route of the controller that leads this partition when the fault occurs.
    Leader(Partition),
    /// The route of the operators with odd numbers.
    Operators,
    /// The route of the viewer and of one of the broadcast recorders.
    Viewer,
    /// The route of a process of simulated hosts.
    Group(usize),
}
