//! The simulated participants as data: agents, controllers, clients, and the connections between
//! them.

pub(crate) mod agents;
pub(crate) mod clients;
pub(crate) mod connection;
pub(crate) mod controllers;
pub mod counts;
pub(crate) mod event;
pub(crate) mod partitioning;
