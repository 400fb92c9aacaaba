//! The simulated network: connections, routing of messages, and their delivery.

pub(crate) mod connections;
pub(crate) mod delivery;
pub(crate) mod routing;
