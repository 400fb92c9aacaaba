//! The way out: effects and replies become bytes and are published.

pub mod encoder;
pub mod publisher;
