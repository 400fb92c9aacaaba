//! Leadership: who leads, what a leader and a follower do, and when a term ends.

pub mod candidate;
pub mod follower;
pub mod leader;
pub mod lease;
pub mod rebalance;
pub mod term;
