//! One-shot subcommands on a store: backup, restore, migration, recovery, number of replicas.

pub mod backup;
pub mod migrate;
pub mod recover;
pub mod set_replicas;
