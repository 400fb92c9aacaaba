//! How every Scuttle program connects to NATS: the address, the credentials and TLS. This crate
//! also finds out when the NATS servers sync data to disk. Each program decides for itself what it
//! sends and how it handles a lost connection.
//!
//! The modules, lowest layer first: `secret`, `error`, `max_payload` and `server_sync`, then
//! `connect_config`, then `arguments`.

mod arguments;
pub mod connect_config;
mod error;
mod max_payload;
mod secret;
pub mod server_sync;

pub use arguments::Arguments;
pub use connect_config::{ConnectConfig, Credentials, Tls};
pub use error::{ConnectConfigError, hint};
pub use max_payload::check_max_payload;
pub use secret::Secret;
