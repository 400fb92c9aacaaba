//! Admission control: limits on the work that the controller accepts, in total and from each host.

pub mod capacity;
pub mod host_rate_limit;
