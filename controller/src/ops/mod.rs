//! One-shot subcommands on a store: backup, restore, migration, the removal of what a migration
//! left behind, recovery, number of replicas.

pub mod backup;
mod confirm;
pub mod leftovers;
pub mod migrate;
pub mod recover;
pub mod set_replicas;
