//! The store whose journal is a JetStream stream, shared by several controllers.

mod completeness;
mod framing;
pub mod jetstream;
pub mod replicated_store;
pub mod rows;
pub mod shared_journal;
pub(crate) mod snapshot_list;
