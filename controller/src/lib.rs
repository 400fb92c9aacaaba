//! The controller's shell around `scuttle-core`: reads messages, commits what the core decides, and
//! publishes the effects.
//!
//! A request passes through the folders in one direction: [`request`] turns a message into an
//! input, [`admission`] limits the work in progress, [`engine`] runs the core and commits its
//! decisions to the [`store`], and [`outbound`] sends the effects after the commit. No other code
//! sends effects.

pub mod admission;
pub mod app;
pub mod clock;
pub mod config;
pub mod engine;
pub mod http;
pub mod leadership;
pub mod nats;
pub mod observability;
pub mod ops;
pub mod outbound;
pub mod partition;
pub mod peers;
pub mod request;
pub mod signals;
pub mod store;
mod wire_name;
