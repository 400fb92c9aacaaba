//! Divides the hosts of a swarm among several journals, and joins their records for clients.

pub mod assignment;
pub mod name_registry;
pub mod relay_format;
pub mod rpc;
pub mod scatter_gather;
