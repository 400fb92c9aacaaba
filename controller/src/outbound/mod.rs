//! The way out: replies and effects become bytes and are published. No other code publishes for the
//! engine.

pub mod encoder;
pub mod publisher;
pub mod replier;
