//! Every NATS subject of Scuttle. No other crate writes one.

mod agents;
mod broadcasts;
mod partitions;
mod permissions;
mod replies;
mod requests;
mod storage;

pub use agents::*;
pub use broadcasts::*;
pub use partitions::*;
pub use permissions::*;
pub use replies::*;
pub use requests::*;
pub use storage::*;
