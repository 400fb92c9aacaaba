//! Limits of the protocol that several messages share.

/// The largest `shards.updated`, `hosts.updated` or `operations.updated` message, in bytes. A larger
/// change is told in several messages.
pub const MAX_BROADCAST_BYTES: usize = 256 * 1024;

/// The largest heartbeat page an agent sends, in bytes.
pub const MAX_HEARTBEAT_BYTES: usize = 256 * 1024;

/// The most deckies on one host.
pub const MAX_DECKIES_PER_HOST: usize = 4096;
