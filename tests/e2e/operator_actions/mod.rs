//! Requests of operators other than teardown: enroll, cancel, dry run, repeat with an idempotency
//! key, decommission.

mod cancel;
mod decommission;
mod dry_run;
mod hosts;
mod idempotency_key;
mod waiting_for;
