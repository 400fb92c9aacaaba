//! The store in a local redb file: the file itself, and the store on top of it.

pub mod database;
mod read_only_overlay;
pub mod redb_store;
