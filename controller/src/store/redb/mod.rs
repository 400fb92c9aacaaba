//! The on-disk store: `database` opens and checks the redb file, and `redb_store` implements
//! `Store` on it.

pub mod database;
mod read_only_overlay;
pub mod redb_store;
mod upgrade;
