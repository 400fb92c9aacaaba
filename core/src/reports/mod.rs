//! Reports from agents: one file for each kind, and a file for applying full inventories.

mod boot_id;
mod heartbeat;
mod inventory;
mod progress;
mod result;
mod result_checks;
mod shard_limit;
