//! Controllers and their memory.

pub(crate) mod leader_term;
pub(crate) mod process;
pub(crate) mod requester;
pub(crate) mod scatter_gather;
