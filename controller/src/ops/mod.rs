//! One-shot subcommands on a store: backup, restore and migration.

pub mod backup;
pub mod migrate;
