//! The outbound path: encodes and publishes replies and effects. No other code sends them.

pub mod encoder;
pub mod publisher;
pub mod replier;
