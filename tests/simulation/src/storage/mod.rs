//! The simulated storage, which outlives the processes that use it.

pub(crate) mod agent_file;
pub(crate) mod controller_store;
pub(crate) mod disk;
pub(crate) mod nats_servers;
