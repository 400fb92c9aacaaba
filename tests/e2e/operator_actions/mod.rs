//! Requests of operators other than teardown: enroll, cancel, dry run, repeat with an idempotency
//! key, decommission.

mod control;
mod hosts;
