//! Leadership: determines which controller leads a partition, and runs leaders and followers.

mod buckets;
pub mod candidate;
pub mod follower;
mod halt;
pub mod leader;
pub mod lease;
mod load;
pub mod rebalance;
pub mod term;
