//! The keys, accounts and users of a NATS server that `scuttle init` has set up. This module does
//! not communicate with a server.

pub(crate) mod accounts;
pub(crate) mod files;
pub(crate) mod jwt;
pub(crate) mod keystore;
mod lock_file;
pub(crate) mod roles;
pub(crate) mod server_address;
pub(crate) mod server_config;
pub(crate) mod user_records;
