//! The processes and files that a measurement needs.
//!
//! The code that sends the requests is in load/.

pub(crate) mod controllers;
pub(crate) mod nats_server;
pub(crate) mod shared;
pub(crate) mod swarm;
