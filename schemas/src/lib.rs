//! Scuttle's wire contract: every subject and every message, and nothing else.
//!
//! A value of one of these types has kept the protocol's rules already: names, ranges and sizes are
//! checked when bytes are read, so no other part of Scuttle checks them again. What a message
//! *causes* is decided in `scuttle-core`; how bytes travel is the shells' matter.

#![warn(missing_docs)]

pub mod agents;
pub mod errors;
#[cfg(feature = "generate")]
pub mod generate;
pub mod headers;
pub mod hosts;
pub mod ids;
pub mod jetstream;
pub mod operations;
pub mod partition;
pub mod read;
pub mod shards;
pub mod subjects;
pub mod teardown;
pub mod text;
pub mod time;

pub use errors::{ErrorCode, Refusal, RefusalBody};
pub use ids::{BootId, DeckyId, HostId, HostName, OperationId};
pub use partition::{Partition, Partitions};
pub use read::{ReadError, Unreadable, read};
pub use text::{Labels, Services, Text};
pub use time::Timestamp;

/// The largest `shards.updated`, `hosts.updated` or `operations.updated` message, in bytes. A larger
/// change is told in several messages.
pub const MAX_BROADCAST_BYTES: usize = 256 * 1024;

/// The largest heartbeat page an agent sends, in bytes.
pub const MAX_HEARTBEAT_BYTES: usize = 256 * 1024;

/// The most deckies on one host.
pub const MAX_DECKIES_PER_HOST: usize = 4096;

/// What to write in a message's `type` field, checked when the message is read.
macro_rules! message_type {
    ($(#[$doc:meta])* $name:ident = $text:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct $name;

        impl $name {
            /// The text on the wire.
            pub const TEXT: &'static str = $text;
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str($text)
            }
        }

        #[cfg(feature = "generate")]
        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "const": $text })
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::read::exactly(deserializer, $text).map(|()| Self)
            }
        }
    };
}
pub(crate) use message_type;
