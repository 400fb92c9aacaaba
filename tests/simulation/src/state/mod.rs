//! The simulated participants as data: agents, controllers and clients, and what connects them.

pub(crate) mod agents;
pub(crate) mod clients;
pub(crate) mod connection;
pub(crate) mod controllers;
pub mod counts;
pub(crate) mod event;
pub(crate) mod partitioning;
