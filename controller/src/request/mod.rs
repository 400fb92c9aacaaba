//! The way in: NATS messages become inputs for the engine.

pub mod endpoint;
pub mod serve;
