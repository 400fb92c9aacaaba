//! Requests of operators other than plain teardowns: enrollments, updates of hosts, cancels, dry
//! runs, repeats with an idempotency key, and decommissions. Also tests `waiting_for`, a field of
//! open operations.

mod cancel;
mod decommission;
mod dry_run;
mod hosts;
mod idempotency_key;
mod override_protection;
mod protect;
mod update_host;
mod waiting_for;
