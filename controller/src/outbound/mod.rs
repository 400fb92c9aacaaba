//! The outbound path: encodes and publishes replies and effects. No other code publishes for the
//! engine.

pub mod encoder;
pub mod publisher;
pub mod replier;
