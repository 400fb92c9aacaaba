//! Admission control: limits on the work that is accepted in total and from one host.

pub mod capacity;
pub mod host_rate_limit;
