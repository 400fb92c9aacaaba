//! Everything that a test starts with: servers, controllers and an operator, started together.

pub mod bus;
pub mod swarm;
