//! How every Scuttle program connects to NATS: the address, the credentials and TLS. Also, how the
//! NATS servers sync to disk. What a program sends on the connection, and how it handles a loss of
//! the connection, is its own business.
//!
//! The modules, lowest layer first: `secret`, `error`, `connect_config`, `arguments`,
//! `server_sync`.

mod arguments;
pub mod connect_config;
mod error;
mod secret;
pub mod server_sync;

pub use arguments::Arguments;
pub use connect_config::{ConnectConfig, Credentials, Tls};
pub use error::{ConnectConfigError, hint};
pub use secret::Secret;
