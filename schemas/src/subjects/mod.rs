//! Every NATS subject of Scuttle, and the names of its streams and buckets.
//!
//! No other crate may write a subject as text; `cargo xtask tidy` checks this. The mapping of
//! messages to subjects is in `generate::asyncapi`.

mod agents;
mod broadcasts;
mod discovery;
mod partitions;
mod permissions;
mod replies;
mod requests;
mod storage;

pub use agents::*;
pub use broadcasts::*;
pub use discovery::*;
pub use partitions::*;
pub use permissions::*;
pub use replies::*;
pub use requests::*;
pub use storage::*;
