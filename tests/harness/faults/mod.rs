//! Faults: a network that delays messages, stalls and cuts connections, and an agent that floods
//! its subjects.

pub mod flood;
pub mod proxy;
