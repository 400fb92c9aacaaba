//! Dividing the hosts of a swarm over several journals, and joining their records for clients.

pub mod assignment;
pub mod name_registry;
pub mod relay_format;
pub mod rpc;
pub mod scatter_gather;
