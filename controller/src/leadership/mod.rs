//! Leadership: determines which controller leads a partition, and runs leaders and followers.

pub mod candidate;
pub mod follower;
pub mod leader;
pub mod lease;
pub mod rebalance;
pub mod term;
