//! Faults: a network that delays messages and stalls or cuts connections, an agent that floods its
//! subjects, and a Docker Engine whose calls hang or fail.

pub mod engine_proxy;
pub mod flood;
pub mod proxy;
