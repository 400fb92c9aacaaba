//! The simulated network.

pub(crate) mod connections;
pub(crate) mod delivery;
pub(crate) mod routing;
