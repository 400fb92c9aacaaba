//! Faults: a network that delays messages and stalls or cuts connections, and an agent that floods
//! its subjects.

pub mod flood;
pub mod proxy;
