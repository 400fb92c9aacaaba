//! What a fault can hit: programs, and the network routes between them.

use scuttle_schemas::Partition;

/// A program that can be killed and stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Program {
    /// A nats-server.
    Nats(usize),
    /// The one that then leads the stream of this partition's journal.
    NatsOfStream(Partition),
    /// A controller.
    Controller(usize),
    /// The one that then leads this partition.
    Leader(Partition),
    /// One process of simulated hosts.
    Group(usize),
}

/// A way through a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Route {
    /// A controller's.
    Controller(usize),
    /// Of the controller that then leads this partition.
    Leader(Partition),
    /// The operators'.
    Operators,
    /// That of the viewer who keeps a view.
    Viewer,
    /// One process of simulated hosts.
    Group(usize),
}
