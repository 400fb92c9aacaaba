//! The controller's shell around `scuttle-core`: bytes in, one engine, one store, bytes out.
//!
//! A request's way is one direction: [`inbound`] reads bytes into inputs, [`engine`] steps the core and
//! commits to the [`store`], [`outbound`] sends the effects. Nothing flows back up, and effects leave in
//! one place, after the commit.

pub mod answers;
pub mod audit;
pub mod backup;
pub mod balance;
pub mod bucket;
pub mod clock;
pub mod config;
pub mod connection;
pub mod durability;
pub mod encoder;
pub mod endpoint;
pub mod engine;
pub mod events;
pub mod follow;
pub mod gather;
pub mod http;
pub mod inbound;
pub mod inbox;
pub mod lead;
pub mod lease;
pub mod metrics;
pub mod migrate;
pub mod names;
pub mod outbound;
pub mod peer;
pub mod peers;
pub mod portion;
pub mod replica;
pub mod service;
pub mod share;
pub mod shutdown;
mod spans;
pub mod store;
pub mod tally;
pub mod told;
pub mod vitals;
