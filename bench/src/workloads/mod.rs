//! The measurements, one module for each.
//!
//! The services for comparison are in baselines/.

pub(crate) mod accept;
pub(crate) mod backlog;
pub(crate) mod cluster;
pub(crate) mod docker;
pub(crate) mod flood;
pub(crate) mod partitions;
pub(crate) mod peers;
pub(crate) mod scale;
pub(crate) mod teardown;
