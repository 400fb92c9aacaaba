//! Teardown requests: which are accepted, how overlapping ones behave, how their commands reach an
//! agent, and what happens at a deadline.

mod concurrent_teardowns;
mod deadlines;
mod delivery;
mod host_subject;
mod new_deployments;
mod requests;
