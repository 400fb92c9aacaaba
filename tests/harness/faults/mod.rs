//! Faults: a network that delays, stalls and cuts, and an agent that floods its subjects.

pub mod flood;
pub mod proxy;
