//! How every Scuttle program connects to NATS: the address, the credentials and TLS. This crate
//! also has a connection that only receives, and finds out when the NATS servers sync data to disk.
//! Each program decides for itself what it sends and how it handles a lost connection.
//!
//! The modules, lowest layer first: `secret`, `error`, `max_payload` and `server_sync`, then
//! `file`, then `credentials` and `tls`, then `connect_config`, then `arguments`, `outage` and
//! `receiver`.

mod arguments;
pub mod connect_config;
mod credentials;
mod error;
pub mod file;
mod max_payload;
pub mod outage;
pub mod receiver;
mod secret;
pub mod server_sync;
pub mod tls;

pub use arguments::Arguments;
pub use connect_config::ConnectConfig;
pub use credentials::Credentials;
pub use error::{ConnectConfigError, hint};
pub use max_payload::check_max_payload;
pub use secret::Secret;
pub use tls::Tls;
