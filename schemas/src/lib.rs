//! Scuttle's wire contract: every subject and every message.
//!
//! Names, ranges and sizes are checked when a message is decoded, so no other part of Scuttle has
//! to check them again. `scuttle-core` decides what each message does, and the programs decide how
//! messages are sent.
//!
//! The folders, lowest layer first: `types` (ids, texts, times, partitions, decoding), `messages`,
//! `subjects`, and `generate` (JSON Schemas and `AsyncAPI` document).

#![warn(missing_docs)]

#[cfg(feature = "generate")]
pub mod generate;
mod messages;
pub mod subjects;
pub mod types;

pub use messages::errors::{ErrorCode, ErrorReply, ErrorReplyBody};
pub use messages::page::PageLimit;
pub use messages::{agents, headers, hosts, operations, protection, shards, teardown};
pub use types::decode::{ReadError, ReadErrorKind, read};
pub use types::deployment::Deployment;
pub use types::escape::{escape_hidden, escape_hidden_in_json, is_hidden};
pub use types::ids::{BootId, DeckyId, HostId, HostName, OperationId};
pub use types::labels::{Labels, Services};
pub use types::limits::{
    MAX_BROADCAST_BYTES, MAX_DECKIES_PER_HOST, MAX_HEADER_BYTES, MAX_HEARTBEAT_BYTES,
    MAX_PLAN_TARGETS, MAX_SHARDS_PER_HOST, MIN_MAX_PAYLOAD,
};
pub use types::partition::{Partition, PartitionCount};
pub use types::text::{Note, Text};
pub use types::timestamp::Timestamp;
pub use types::truncate::truncate_chars;
