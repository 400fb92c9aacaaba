//! Admission control: how much work is accepted in total, and how much from one host.

pub mod capacity;
pub mod host_rate_limit;
