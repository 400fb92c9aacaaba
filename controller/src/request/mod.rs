//! Turns NATS messages into inputs of the engine.
//!
//! [`serve`] takes the requests of one endpoint and runs each through the stages in [`pipeline`].

pub mod context;
pub mod decode;
pub mod discovery;
pub mod endpoint;
mod name_claim;
pub mod pipeline;
pub mod published;
pub mod rejection;
mod respond;
pub mod serve;
