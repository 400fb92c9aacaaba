//! Partitions: divides the hosts of a swarm among several journals, and merges their records for
//! clients.

pub mod assignment;
mod name_fill;
pub mod name_registry;
pub mod relay_format;
pub mod rpc;
pub mod scatter_gather;
