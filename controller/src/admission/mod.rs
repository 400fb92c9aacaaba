//! Admission control: limits on the work that the controller accepts, in total and from each host,
//! and the hosts from which it accepts nothing.

pub mod capacity;
pub mod host_rate_limit;
pub mod quarantine;
