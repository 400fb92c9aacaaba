//! Scuttle's wire contract: every subject and every message, and nothing else.
//!
//! A value of one of these types has kept the protocol's rules already: names, ranges and sizes are
//! checked when bytes are read, so no other part of Scuttle checks them again. What a message
//! *causes* is decided in `scuttle-core`; how bytes travel is the shells' matter.

#![warn(missing_docs)]

#[cfg(feature = "generate")]
pub mod generate;
mod messages;
pub mod subjects;
mod types;

pub use messages::errors::{ErrorCode, ErrorReply, ErrorReplyBody};
pub use messages::page::PageLimit;
pub use messages::{agents, headers, hosts, operations, shards, teardown};
pub use types::decode::{ReadError, ReadErrorKind, read};
pub use types::ids::{BootId, DeckyId, HostId, HostName, OperationId};
pub use types::labels::{Labels, Services};
pub use types::limits::{MAX_BROADCAST_BYTES, MAX_DECKIES_PER_HOST, MAX_HEARTBEAT_BYTES};
pub use types::partition::{Partition, PartitionCount};
pub use types::text::{MAX_TEXT_CHARS, Text};
pub use types::timestamp::Timestamp;
pub use types::truncate::truncate_chars;
