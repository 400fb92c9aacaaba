//! Which controller leads a partition, and the life of a leader and of a follower.

pub mod candidate;
pub mod follower;
pub mod leader;
pub mod lease;
pub mod rebalance;
pub mod term;
